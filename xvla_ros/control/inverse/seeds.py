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


class SeedTable:
    """Joint postures spread evenly over the limits, looked up by their tool pose."""

    def __init__(
        self, forward: Callable[[Vector], tuple[Vector, Vector]], lower: Vector, upper: Vector
    ) -> None:
        """:param forward: joints (n,) -> tool position (3,) and rotation (3, 3)."""
        unit = qmc.Sobol(len(lower), seed=0).random(POSTURES)
        self._postures = lower + unit * (upper - lower)
        self._tree = cKDTree(np.stack([_key(*forward(q)) for q in self._postures]))

    def nearest(self, position: Vector, rotation: Vector, count: int) -> Vector:
        """Return the postures (count, n) whose tool is nearest to a pose, nearest first."""
        _, rows = self._tree.query(_key(position, rotation), k=count)
        postures: Vector = self._postures[np.atleast_1d(rows)]
        return postures


def _key(position: Vector, rotation: Vector) -> Vector:
    return np.concatenate(
        [position, AXIS_WEIGHT_M * rotation[:, 0], AXIS_WEIGHT_M * rotation[:, 2]]
    )
