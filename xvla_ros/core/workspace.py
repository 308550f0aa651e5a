# SPDX-License-Identifier: Apache-2.0
"""Where tools may be: a box and half spaces per arm, and the distance between two arms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.settings import ArmSettings

Array = NDArray[np.float64]

# Points this far outside [m] count as on the boundary: rounding of the projection below.
TOLERANCE_M = 1e-9
# Rounds of Dykstra's projection; it converges geometrically where planes meet at no sharp angle.
ROUNDS = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Workspace:
    """
    The convex set of one arm's tool positions, in its base frame: a box and half spaces.

    low, high: (3,) corners [m]. normals: (M, 3) unit; offsets: (M,) [m]: the tool keeps
    normals @ p >= offsets.
    """

    low: Array
    high: Array
    normals: Array
    offsets: Array

    def contains(self, points: Array, margin_m: float = TOLERANCE_M) -> NDArray[np.bool_]:
        """Return whether points (..., 3) are outside by no more than the margin, shape (...)."""
        boxed = np.all((points >= self.low - margin_m) & (points <= self.high + margin_m), axis=-1)
        if not len(self.offsets):
            return boxed
        return boxed & np.all(points @ self.normals.T >= self.offsets - margin_m, axis=-1)

    def nearest(self, point: Array) -> Array:
        """Return the point inside nearest to `point` (3,), by Dykstra's projections."""
        boxed = np.clip(point, self.low, self.high)
        if not len(self.offsets) or np.all(self.normals @ boxed >= self.offsets):
            return boxed
        x, corrections = point, np.zeros((len(self.offsets) + 1, 3))
        for _ in range(ROUNDS):
            for i in range(len(corrections)):
                moved = x + corrections[i]
                x = self._project(moved, i)
                corrections[i] = moved - x
        return x

    def _project(self, point: Array, index: int) -> Array:
        """Return the projection on half space `index`, or on the box when there are no more."""
        if index == len(self.offsets):
            return np.clip(point, self.low, self.high)
        outside = max(self.offsets[index] - self.normals[index] @ point, 0.0)
        return point + outside * self.normals[index]


def workspace(settings: ArmSettings) -> Workspace:
    """Return the workspace of one arm; half spaces are scaled to unit normals."""
    rows = np.reshape(settings.half_spaces, (-1, 4))
    lengths = np.linalg.norm(rows[:, :3], axis=1)
    rows = rows[lengths > 0] / lengths[lengths > 0, None]
    return Workspace(
        low=np.array(settings.workspace_min_m),
        high=np.array(settings.workspace_max_m),
        normals=rows[:, :3],
        offsets=rows[:, 3],
    )


def to_world(settings: ArmSettings, points: Array) -> Array:
    """Return points (..., 3) of an arm's base frame in the world that both arms share."""
    x, y, z, yaw = settings.base_in_world
    c, s = np.cos(yaw), np.sin(yaw)
    return points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) + np.array([x, y, z])


def segment_distance(a: Array, b: Array, c: Array, d: Array) -> float:
    """Return the least distance between the segments a-b and c-d, each point (3,)."""
    u, v, w = b - a, d - c, a - c
    uu, uv, vv, uw, vw = u @ u, u @ v, v @ v, u @ w, v @ w
    det = uu * vv - uv * uv
    s = np.clip((uv * vw - vv * uw) / det, 0.0, 1.0) if det > 1e-15 else 0.0
    t = (uv * s + vw) / vv if vv > 1e-15 else 0.0
    t = np.clip(t, 0.0, 1.0)
    s = np.clip((uv * t - uw) / uu, 0.0, 1.0) if uu > 1e-15 else 0.0
    return float(np.linalg.norm(w + s * u - t * v))
