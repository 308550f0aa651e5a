# SPDX-License-Identifier: Apache-2.0
"""The clock that the runtime reads."""

from typing import Protocol


class Clock(Protocol):
    """The clock of a node, a simulation or a bag."""

    def now_ns(self) -> int:
        """Return the current time [ns], on the clock of the stamps; 0 while it is not known."""
