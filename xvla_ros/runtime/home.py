# SPDX-License-Identifier: Apache-2.0
"""The motion to the home pose: a straight minimum-jerk line at half of the limits."""

from collections.abc import Sequence
from dataclasses import replace
import math

import numpy as np

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.settings import LimitSettings
from xvla_ros.core.space import PoseSpace, Space

# Peak speed and acceleration of 10 u^3 - 15 u^4 + 6 u^5 over unit time and distance (its
# derivatives at the extrema).
PEAK_SPEED = 1.875
PEAK_ACCELERATION = 5.7735
# Share of the limits that the motion uses.
SHARE = 0.5
SHORTEST_S = 0.5


def home_poses(embodiment: Embodiment) -> tuple[ArmPose, ...]:
    """
    Return each arm's tool pose at `home_rad`, base frame. Grippers are NaN: they do not move.

    :raises ConfigError: a URDF is missing or does not hold the arm.
    """
    from xvla_ros.control.arm_kinematics import arm_kinematics  # pinocchio takes long to import

    poses = []
    for arm in embodiment.arms.values():
        position, quaternion = arm_kinematics(arm).forward(arm.home_rad)
        joints = np.array(arm.home_rad) if embodiment.joint_space else None
        poses.append(
            ArmPose(position=position, quaternion=quaternion, gripper=math.nan, joints=joints)
        )
    return tuple(poses)


class HomeMotion:
    """A minimum-jerk motion of all arms between two sets of poses; all arrive at the same time."""

    def __init__(
        self,
        start: Sequence[ArmPose],
        end: Sequence[ArmPose],
        limits: LimitSettings,
        now_ns: int,
        space: Space | None = None,
    ) -> None:
        """
        Plan a motion that begins now, as fast as `SHARE` of the limits allows.

        :param space: that it is straight in; None: of tool poses.
        """
        self._space: Space = space or PoseSpace('')
        self._start = [self._space.state(arm) for arm in start]
        self._end = [self._space.state(arm) for arm in end]
        self._begin_ns = now_ns
        self.duration_s = max(
            SHORTEST_S, *(_duration_s(a, b, limits) for a, b in zip(start, end, strict=True))
        )

    def at(self, now_ns: int) -> tuple[ArmPose, ...] | None:
        """Return the target of every arm; None after the end of the motion."""
        u = self._fraction(now_ns)
        if u >= 1:
            return None
        s = u * u * u * (10 + u * (6 * u - 15))
        pairs = zip(self._start, self._end, strict=True)
        arms = self._space.arms([self._space.mix(a, b, s) for a, b in pairs])
        return tuple(
            replace(arm, gripper=end[-1]) for arm, end in zip(arms, self._end, strict=True)
        )

    def _fraction(self, now_ns: int) -> float:
        return min(max((now_ns - self._begin_ns) / (self.duration_s * NANOSECONDS), 0.0), 1.0)


def _duration_s(start: ArmPose, end: ArmPose, limits: LimitSettings) -> float:
    """Return how long one arm needs [s]."""
    distance_m = float(sum((end.position - start.position) ** 2) ** 0.5)
    turn_rad = rotation_angle(start, end)
    if start.joints is not None and end.joints is not None:  # no joint turns faster than a tool
        turn_rad = max(turn_rad, float(np.abs(end.joints - start.joints).max()))
    least_s: float = max(
        PEAK_SPEED * distance_m / (SHARE * limits.max_linear_speed_m_s),
        PEAK_SPEED * turn_rad / (SHARE * limits.max_angular_speed_rad_s),
        (PEAK_ACCELERATION * distance_m / (SHARE * limits.max_linear_acceleration_m_s2)) ** 0.5,
        (PEAK_ACCELERATION * turn_rad / (SHARE * limits.max_angular_acceleration_rad_s2)) ** 0.5,
    )
    return least_s


def rotation_angle(a: ArmPose, b: ArmPose) -> float:
    """Return the angle between two orientations [rad]."""
    return float(2 * math.acos(min(1.0, abs(float(a.quaternion @ b.quaternion)))))
