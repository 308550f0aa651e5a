# SPDX-License-Identifier: Apache-2.0
"""Measures how far the arms move while the policy holds."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# How long the arms may brake after a hold began [s].
BRAKING_S = 0.2


class Stillness:
    """
    Measures the largest distance that a tool moves during a hold of the policy, over a run.

    A hold is measured from BRAKING_S after its beginning, by the simulation's clock. `moved_mm` is
    the result so far.
    """

    def __init__(self) -> None:
        """Begin without a hold."""
        self.moved_mm = 0.0
        self._paused = False
        self._since_s: float | None = None
        self._there: dict[str, NDArray[np.float64]] = {}

    def pause(self) -> None:
        """Stop measuring, because a new scene will move the tools."""
        self._paused, self._since_s, self._there = True, None, {}

    def resume(self) -> None:
        """Measure again."""
        self._paused = False

    def look(self, time_s: float, holding: bool, tools: Mapping[str, NDArray[np.float64]]) -> None:
        """Add a measurement: whether the policy holds, and the tools (3,) in the world [m]."""
        if self._paused or not holding:
            self._since_s, self._there = None, {}
            return
        self._since_s = time_s if self._since_s is None else self._since_s
        if time_s - self._since_s < BRAKING_S:
            return
        for name, position in tools.items():
            off_m = np.linalg.norm(position - self._there.setdefault(name, position))
            self.moved_mm = max(self.moved_mm, 1000 * float(off_m))
