# SPDX-License-Identifier: Apache-2.0
"""The one thing that the runtime needs to know of time."""

from typing import Protocol


class Clock(Protocol):
    """A node's clock, a simulation's or a bag's."""

    def now_ns(self) -> int:
        """Return the time that stamps are compared with [ns]; 0 while it is not known."""
