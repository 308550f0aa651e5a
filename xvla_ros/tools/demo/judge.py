# SPDX-License-Identifier: Apache-2.0
"""Decides whether an episode succeeded: the tool must stay above the named block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The tool centre must stay within HORIZONTAL_M of the block's centre horizontally, and less than
# HEIGHT_M above it, for STAY_S.
HORIZONTAL_M = 0.03
HEIGHT_M = 0.15
STAY_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """
    The progress of an episode.

    succeeded: whether it has succeeded. distance_m: current horizontal distance of the tool from
    the block. best_m: the smallest distance of the episode.
    """

    succeeded: bool
    distance_m: float
    best_m: float


class ReachJudge:
    """Judges one episode. Positions are in the world frame [m], times in seconds."""

    def __init__(self) -> None:
        """Begin an episode."""
        self._since_s: float | None = None
        self._best_m = float('inf')
        self._succeeded = False

    def look(
        self, time_s: float, tool: NDArray[np.float64], block: NDArray[np.float64]
    ) -> Progress:
        """Return the progress at a time; `tool` and `block` are the centres (3,) of both."""
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
