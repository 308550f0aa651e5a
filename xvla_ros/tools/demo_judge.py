# SPDX-License-Identifier: Apache-2.0
"""Whether a reach succeeded: the tool stays above the named block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HORIZONTAL_M = 0.03
HEIGHT_M = 0.15
STAY_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """
    How near a reach came.

    distance_m: of the tool from the block, horizontally, now. best_m: the least of the episode.
    """

    succeeded: bool
    distance_m: float
    best_m: float


class ReachJudge:
    """Success of one episode; positions are in the world frame [m], times in seconds."""

    def __init__(self) -> None:
        """Begin an episode."""
        self._since_s: float | None = None
        self._best_m = float('inf')
        self._succeeded = False

    def look(
        self, time_s: float, tool: NDArray[np.float64], block: NDArray[np.float64]
    ) -> Progress:
        """Take in where the tool centre and the block's centre (3,) are; success stays success."""
        distance_m = float(np.hypot(*(tool - block)[:2]))
        inside = distance_m <= HORIZONTAL_M and tool[2] - block[2] < HEIGHT_M
        if not inside:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = time_s
        self._best_m = min(self._best_m, distance_m)
        if self._since_s is not None and time_s - self._since_s >= STAY_S:
            self._succeeded = True
        return Progress(succeeded=self._succeeded, distance_m=distance_m, best_m=self._best_m)
