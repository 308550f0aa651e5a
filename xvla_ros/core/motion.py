# SPDX-License-Identifier: Apache-2.0
"""One step of a tool towards a target, within the limits of speed and acceleration."""

from dataclasses import dataclass, replace
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.quaternions import difference, Quaternion, turned
from xvla_ros.core.settings import LimitSettings

Array = NDArray[np.float64]

# Share of a limit that a clamped step uses, so that rounding never exceeds the limit.
MARGIN = 1 - 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionLimit:
    """
    Largest speed [1/s] and acceleration [1/s^2] of a point: a position [m] or a rotation [rad].

    Vectors are (3,): velocities, and for a rotation its rotation vector in the base frame.
    """

    speed: float
    acceleration: float

    def stopping(self, velocity: Array) -> Array:
        """Return the displacement until a stop when braking begins now."""
        return velocity * (norm(velocity) / (2 * self.acceleration * MARGIN))

    def brake(self, velocity: Array, dt_s: float) -> Array:
        """Return the velocity after one step of braking without a change of direction."""
        speed = norm(velocity)
        drop = self.acceleration * MARGIN * dt_s
        return velocity * (1 - drop / speed) if speed > drop else np.zeros(3)

    def approach(self, error: Array, pace: Array, velocity: Array, dt_s: float) -> Array:
        """
        Return the velocity that reduces an error fastest without overshooting.

        :param error: from the point to the target.
        :param pace: velocity of the target; it is matched once the error is zero.
        :param velocity: velocity of the previous step.
        """
        acceleration = self.acceleration * MARGIN
        wanted = clip_norm(pace, self.speed * MARGIN)
        lag = (
            error - wanted * dt_s
        )  # the error left if this step only matches the target's velocity
        distance = norm(lag)
        if distance > 0:
            # The fastest speed from which braking after this step still ends at the target:
            # s dt + s^2 / 2a = distance.
            root = math.sqrt(dt_s * dt_s + 2 * distance / acceleration)
            closing = min(acceleration * (root - dt_s), distance / dt_s)
            wanted = wanted + lag * (closing / distance)
        change = clip_norm(wanted, self.speed * MARGIN) - velocity
        return velocity + clip_norm(change, acceleration * dt_s)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ToolState:
    """A tool in motion: position (3,) [m], velocity (3,) [m/s], quaternion, spin (3,) [rad/s]."""

    position: Array
    quaternion: Quaternion
    velocity: Array
    spin: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """The velocities of one step, and which limits the target would have broken."""

    velocity: Array
    spin: Array
    broken: tuple[str, ...]


class ToolLimits:
    """The limits of one tool, and steps within them."""

    def __init__(self, limits: LimitSettings) -> None:
        """Read the four limits."""
        self.linear = MotionLimit(
            speed=limits.max_linear_speed_m_s, acceleration=limits.max_linear_acceleration_m_s2
        )
        self.angular = MotionLimit(
            speed=limits.max_angular_speed_rad_s,
            acceleration=limits.max_angular_acceleration_rad_s2,
        )

    def towards(self, state: ToolState, goal: ToolState, dt_s: float) -> Step:
        """Return the step towards a moving goal; it reaches the goal if the limits allow it."""
        turn = np.array(difference(state.quaternion, goal.quaternion))
        velocity, broken = _limited(
            self.linear, goal.position - state.position, goal.velocity, state.velocity, dt_s
        )
        spin, spin_broken = _limited(self.angular, turn, goal.spin, state.spin, dt_s)
        return Step(
            velocity=velocity,
            spin=spin,
            broken=tuple(f'linear_{b}' for b in broken)
            + tuple(f'angular_{b}' for b in spin_broken),
        )

    def brake(self, state: ToolState, dt_s: float) -> Step:
        """Return the step that brakes without a change of direction."""
        return Step(
            velocity=self.linear.brake(state.velocity, dt_s),
            spin=self.angular.brake(state.spin, dt_s),
            broken=(),
        )


def _limited(
    limit: MotionLimit, error: Array, pace: Array, before: Array, dt_s: float
) -> tuple[Array, tuple[str, ...]]:
    """Return the velocity of a step that reduces `error` as far as a limit allows."""
    wanted = error / dt_s
    broken = []
    if norm(wanted) > limit.speed:
        broken.append('speed')
    # Reaching the target is useless if the next step cannot match its velocity.
    if max(norm(wanted - before), norm(wanted - pace)) > limit.acceleration * dt_s:
        broken.append('acceleration')
    return (limit.approach(error, pace, before, dt_s) if broken else wanted), tuple(broken)


def advance(state: ToolState, step: Step, dt_s: float) -> ToolState:
    """Return the state after a step."""
    return ToolState(
        position=state.position + step.velocity * dt_s,
        quaternion=turned(state.quaternion, tuple((step.spin * dt_s).tolist())),
        velocity=step.velocity,
        spin=step.spin,
    )


def between(low: Step, high: Step, share: float) -> Step:
    """Return low + share * (high - low); it keeps every limit that both keep."""
    return Step(
        velocity=low.velocity + share * (high.velocity - low.velocity),
        spin=low.spin + share * (high.spin - low.spin),
        broken=high.broken,
    )


def quaternion_of(arm: ArmPose) -> Quaternion:
    """Return the rotation of a pose as a tuple."""
    x, y, z, w = arm.quaternion.tolist()
    return (x, y, z, w)


def at_rest(position: Array, arm: ArmPose) -> ToolState:
    """Return a state at rest with the rotation of a pose."""
    return ToolState(
        position=position, quaternion=quaternion_of(arm), velocity=np.zeros(3), spin=np.zeros(3)
    )


def stopped(state: ToolState) -> ToolState:
    """Return the state at rest."""
    return replace(state, velocity=np.zeros(3), spin=np.zeros(3))


def paced(goal: ToolState, last: ToolState, dt_s: float) -> ToolState:
    """Return a goal with the velocities at which it moved since the last one."""
    spin = np.array(difference(last.quaternion, goal.quaternion)) / dt_s
    return replace(goal, velocity=(goal.position - last.position) / dt_s, spin=spin)


def norm(vector: Array) -> float:
    """Return the length of a vector (3,)."""
    return math.sqrt(vector @ vector)


def clip_norm(vector: Array, most: float) -> Array:
    """Return the vector, shortened to length `most` where it is longer."""
    length = norm(vector)
    return vector * (most / length) if length > most else vector
