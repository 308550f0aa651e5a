# SPDX-License-Identifier: Apache-2.0
"""Limits on tool positions: a box and half spaces per arm, and the distance between two arms."""

from dataclasses import dataclass
from functools import lru_cache
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.settings import ArmSettings

Array = NDArray[np.float64]

# Points this far outside [m] count as on the boundary: rounding of the projection below.
TOLERANCE_M = 1e-9
# Most rounds of projections onto the planes in turn; only sharp angles need many.
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
        """Return whether points (..., 3) are inside, or outside by at most the margin; (...)."""
        low, high = self.low - margin_m, self.high + margin_m
        inside: NDArray[np.bool_] = np.all((points >= low) & (points <= high), axis=-1)
        if len(self.offsets):
            inside &= np.all(points @ self.normals.T >= self.offsets - margin_m, axis=-1)
        return inside

    def contains_point(self, point: Array) -> bool:
        """Return whether one point (3,) is inside; as `contains`, but ten times faster."""
        corners = zip(self.low.tolist(), point.tolist(), self.high.tolist(), strict=True)
        if not all(low - TOLERANCE_M <= x <= high + TOLERANCE_M for low, x, high in corners):
            return False
        return not len(self.offsets) or bool(
            (self.normals @ point >= self.offsets - TOLERANCE_M).all()
        )

    def nearest(self, point: Array) -> Array:
        """Return a point inside, near `point` (3,): for a box the nearest one."""
        boxed: Array = np.clip(point, self.low, self.high)
        if not len(self.offsets) or np.all(self.normals @ boxed >= self.offsets):
            return boxed
        x = point
        for _ in range(ROUNDS):
            for normal, offset in zip(self.normals, self.offsets, strict=True):
                x = x + max(offset - normal @ x, 0.0) * normal
            x = np.clip(x, self.low, self.high)
            if self.contains_point(x):
                break
        return x


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
    turn, origin = _base(*settings.base_in_world)
    moved: Array = points @ turn + origin
    return moved


@lru_cache(maxsize=16)
def _base(x: float, y: float, z: float, yaw: float) -> tuple[Array, Array]:
    """Return the turn (3, 3), for rows, and the origin (3,) [m] of a base in the world."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]), np.array([x, y, z])


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
