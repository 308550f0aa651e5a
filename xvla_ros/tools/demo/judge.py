# SPDX-License-Identifier: Apache-2.0
"""Decides whether a block was reached, and how long to wait until it is lifted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The tool centre must stay within HORIZONTAL_M of the block's centre horizontally, and less than
# HEIGHT_M above it, for STAY_S.
HORIZONTAL_M = 0.03
HEIGHT_M = 0.15
STAY_S = 0.5
# After a reach the tool has DESCEND_S to come as low as LOW_M above the block's centre. The expert
# takes 1 s from its hover of 7 cm. Then there is time until LIFT_S; the expert takes 4 s.
LOW_M, DESCEND_S, LIFT_S = 0.04, 2.0, 8.0


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


class Patience:
    """
    Says how long an episode goes on after its block was reached.

    A policy that lifts goes down to the block. One that only reaches stays above it, and nobody
    has to wait for it until the time limit.
    """

    def __init__(self) -> None:
        """Begin an episode."""
        self._reached_s: float | None = None
        self._low = False

    def ended(self, time_s: float, reached: bool, above_m: float) -> bool:
        """Tell whether to stop waiting; `above_m` is the tool's height above the block."""
        if not reached:
            return False
        self._reached_s = time_s if self._reached_s is None else self._reached_s
        self._low = self._low or above_m < LOW_M
        return time_s - self._reached_s > (LIFT_S if self._low else DESCEND_S)
