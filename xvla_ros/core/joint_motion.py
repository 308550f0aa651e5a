# SPDX-License-Identifier: Apache-2.0
"""
Steps of all joints together, within their limits of speed and acceleration.

Like core/motion.py for tools, with another norm: the size of a velocity is the largest share of a
joint's limit that it uses. All joints slow down by the same factor, so that a path becomes slower
but keeps its shape, and a stop is a straight line in joint space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.joint_settings import JointSettings
from xvla_ros.core.motion import MARGIN

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointBounds:
    """
    The limits of the joints of all arms, arm by arm.

    lower, upper: (N,) [rad] positions that may be commanded; speed: (N,) [rad/s]; acceleration:
    (N,) [rad/s^2]. falls: (N, 4) lower, upper, k, c: towards an end the speed stays below
    sqrt(2 k distance) - c; the ends are infinite for a joint without this rule. falling: (N,)
    whether a joint has it.
    """

    names: tuple[str, ...]
    lower: Array
    upper: Array
    speed: Array
    acceleration: Array
    falls: Array
    falling: NDArray[np.bool_]

    def fastest(self, q: Array, v: Array) -> Array:
        """Return the speed limit of each joint at q in the direction of v (N,) [rad/s]."""
        if not self.falling.any():
            return self.speed
        distance = np.where(v >= 0, self.falls[:, 1] - q, q - self.falls[:, 0])
        fall = np.sqrt(2 * self.falls[:, 2] * np.maximum(distance, 0.0)) - self.falls[:, 3]
        fastest: Array = np.minimum(self.speed, np.maximum(fall, 0.0))
        return fastest

    def brake_s(self, v: Array) -> float:
        """Return how long braking from v takes [s]."""
        return float((np.abs(v) / self.acceleration).max()) / MARGIN

    def stop(self, q: Array, v: Array) -> Array:
        """Return where braking from q and v ends (N,)."""
        end: Array = q + v * (self.brake_s(v) / 2)
        return end

    def brake(self, v: Array, dt_s: float) -> Array:
        """Return the velocity after one step of braking without a change of direction."""
        time_s = self.brake_s(v)
        return v * (1 - dt_s / time_s) if time_s > dt_s else np.zeros_like(v)

    def approach(self, error: Array, pace: Array, v: Array, q: Array, dt_s: float) -> Array:
        """
        Return the velocity that reduces an error fastest without overshooting.

        :param error: from the joints to the target. :param pace: velocity of the target.
        :param v: of the step before. :param q: where the joints are.
        """
        wanted = self._slowed(pace, q)
        lag = error - wanted * dt_s
        distance = float((np.abs(lag) / self.acceleration).max()) / MARGIN
        if distance > 0:
            root = math.sqrt(dt_s * dt_s + 2 * distance)
            closing = min(root - dt_s, distance / dt_s)
            wanted = wanted + lag * (closing / distance)
        return self.nearer(self._slowed(wanted, q), v, dt_s)

    def nearer(self, wanted: Array, v: Array, dt_s: float) -> Array:
        """Return the velocity nearest to the wanted one that the acceleration limit allows."""
        change = wanted - v
        share = float((np.abs(change) / self.acceleration).max()) / MARGIN
        return v + change * min(1.0, dt_s / share) if share > 0 else v

    def _slowed(self, v: Array, q: Array) -> Array:
        """Return the velocity, scaled down if one joint would be too fast."""
        fastest = self.fastest(q, v) * MARGIN
        moving = np.abs(v) > fastest
        return v * float((fastest[moving] / np.abs(v[moving])).min()) if moving.any() else v

    def outside(self, q: Array, v: Array, before: Array) -> int | None:
        """
        Return a joint that would leave its limits while braking from q and v; None for none.

        :param before: joints one step earlier: one beyond its limit may come back.
        """
        end = self.stop(q, v)
        low, high = np.minimum(self.lower, before), np.maximum(self.upper, before)
        wrong = (np.minimum(q, end) < low - 1e-12) | (np.maximum(q, end) > high + 1e-12)
        wrong |= ~self._falls_in_time(q, v, end)
        return int(np.argmax(wrong)) if wrong.any() else None

    def _falls_in_time(self, q: Array, v: Array, end: Array) -> NDArray[np.bool_]:
        """Tell whether each joint's speed stays below its bound while all of them brake."""
        now = np.abs(v) <= self.fastest(q, v) + 1e-12
        moving = (v != 0) & self.falling
        if not moving.any():
            return now
        k, c = self.falls[:, 2], self.falls[:, 3]
        left = np.where(v >= 0, self.falls[:, 1] - end, end - self.falls[:, 0])
        drop = np.abs(v) / max(self.brake_s(v), 1e-12)
        slack = np.maximum(k - drop, 0.0)
        # The bound comes closest to the speed at `nearest` before the end: equal slopes there.
        with np.errstate(divide='ignore', invalid='ignore'):
            nearest = np.where(slack > 0, left * drop / slack, np.inf)
        within = nearest < np.abs(end - q)
        least = np.sqrt(2 * np.maximum(left, 0.0) * slack) >= c
        fine: NDArray[np.bool_] = now & (~moving | ((left >= 0) & (~within | least)))
        return fine


def joint_bounds(
    table: Sequence[JointSettings], urdf: tuple[Array, Array], margin_rad: float
) -> JointBounds:
    """
    Return the bounds of joints: the table's limits inside those of the URDF, with a margin.

    :param table: of all arms, in order. :param urdf: lower and upper limits (N,) [rad].
    :raises ValueError: a joint's range is empty.
    """
    low = np.array([j.lower_rad if j.bounded else -np.inf for j in table])
    high = np.array([j.upper_rad if j.bounded else np.inf for j in table])
    falls = np.array([j.speed_falls or (-np.inf, np.inf, 1.0, 0.0) for j in table])
    bounds = JointBounds(
        names=tuple(joint.ros_name for joint in table),
        lower=np.maximum(low, urdf[0]) + margin_rad,
        upper=np.minimum(high, urdf[1]) - margin_rad,
        speed=np.array([joint.max_speed_rad_s for joint in table]),
        acceleration=np.array([joint.max_acceleration_rad_s2 for joint in table]),
        falls=falls,
        falling=np.isfinite(falls[:, 0]),
    )
    if not (bounds.lower < bounds.upper).all():
        name = bounds.names[int(np.argmax(bounds.lower >= bounds.upper))]
        raise ValueError(f"joint '{name}' has no range: its limits and margins leave nothing")
    return bounds
