# SPDX-License-Identifier: Apache-2.0
"""Starting points for inverse kinematics: postures, looked up by their tool pose."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import qmc

Vector = NDArray[np.float64]

POSTURES = 8192
# Weight of the tool's axes relative to its position [m]: a difference of 90 degrees counts as
# much as 0.2 m.
AXIS_WEIGHT_M = 0.14
# The same where the position comes first.
SMALL_AXIS_WEIGHT_M = 0.03


class SeedTable:
    """Joint postures spread evenly over the limits, looked up by their tool pose."""

    def __init__(
        self,
        forward: Callable[[Vector], tuple[Vector, Vector]],
        lower: Vector,
        upper: Vector,
        position_first: bool = False,
    ) -> None:
        """:param forward: joints (n,) -> tool position (3,) and rotation (3, 3)."""
        self._weight_m = SMALL_AXIS_WEIGHT_M if position_first else AXIS_WEIGHT_M
        unit = qmc.Sobol(len(lower), seed=0).random(POSTURES)
        self._postures = lower + unit * (upper - lower)
        self._tree = cKDTree(np.stack([self._key(*forward(q)) for q in self._postures]))

    def nearest(self, position: Vector, rotation: Vector, count: int) -> Vector:
        """Return the postures (count, n) whose tool is nearest to a pose, nearest first."""
        _, rows = self._tree.query(self._key(position, rotation), k=count)
        postures: Vector = self._postures[np.atleast_1d(rows)]
        return postures

    def _key(self, position: Vector, rotation: Vector) -> Vector:
        weight = self._weight_m
        return np.concatenate([position, weight * rotation[:, 0], weight * rotation[:, 2]])
