# SPDX-License-Identifier: Apache-2.0
"""A robot's kinematics for the core: the joint model of the gates, and the space of plans."""

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.control.collisions.shapes import Collisions
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_model import parts, Tool
from xvla_ros.core.joint_motion import joint_bounds
from xvla_ros.core.space import JointSpace

Vector = NDArray[np.float64]

# Size of the cache of tool poses: a gate asks for the same postures several times in a step.
RECENT = 4


class RobotModel:
    """All arms of a joint-space embodiment (`core.joint_model.JointModel`). One thread."""

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Read the URDFs.

        :raises ConfigError: a URDF is missing or does not fit, or a joint has no range.
        """
        arms = tuple(embodiment.arms.values())
        self._kinematics = tuple(arm_kinematics(arm) for arm in arms)
        self.joint_counts = embodiment.joint_counts
        self._recent: dict[bytes, tuple[Tool, ...]] = {}
        self._parts = parts(self.joint_counts)
        limits = [kinematics.limits for kinematics in self._kinematics]
        lower, upper = (
            np.concatenate([getattr(x, n) for x in limits]) for n in ('lower', 'upper')
        )
        table = [joint for arm in arms for joint in arm.joint_table]
        try:
            self.bounds = joint_bounds(table, (lower, upper), embodiment.limits.joint_margin_rad)
        except ValueError as error:
            raise ConfigError(f"embodiment '{embodiment.robot}': {error}") from error
        self._collisions = Collisions(embodiment) if embodiment.limits.check_collisions else None

    def tools(self, q: Vector) -> tuple[Tool, ...]:
        """Return the tool of each arm, in its base frame, for joints q (N,) [rad]."""
        key = q.tobytes()
        if key not in self._recent:
            while len(self._recent) >= RECENT:
                self._recent.pop(next(iter(self._recent)))
            self._recent[key] = self._tools(q)
        return self._recent[key]

    def _tools(self, q: Vector) -> tuple[Tool, ...]:
        each = zip(self._kinematics, self._parts, strict=True)
        return tuple(kinematics.forward(q[part]) for kinematics, part in each)

    def collision(self, q: Vector) -> str:
        """Return which links touch; empty for none, or if collisions are not checked."""
        return self._collisions.touching(q) if self._collisions else ''

    def units(self, q: Vector) -> str:
        """Return the unit in which joints q (N,) would be inside their limits; empty: none."""
        each = zip(self._kinematics, self._parts, strict=True)
        fitting = [kinematics.limits.units(q[part]) for kinematics, part in each]
        first, *others = fitting
        return ' or '.join(unit for unit in first if all(unit in units for units in others))


def robot_model(embodiment: Embodiment) -> RobotModel | None:
    """Return the model of a joint-space embodiment; None for tool poses."""
    return RobotModel(embodiment) if embodiment.joint_space else None


def joint_space(embodiment: Embodiment) -> JointSpace:
    """
    Return the space of a joint-space embodiment's plans.

    :raises ConfigError: a URDF is missing or does not hold the arm.
    """
    forward = [arm_kinematics(arm).forward for arm in embodiment.arms.values()]
    return JointSpace(forward, embodiment.joint_counts)
