# SPDX-License-Identifier: Apache-2.0
"""All arms of a robot as one: measured together, commanded together or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.control.drivers import make_arm_driver, make_gripper_driver, Plan
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation import check_streams, StreamLimit
from xvla_ros.core.settings import ArmSettings
from xvla_ros.msg import EndEffectorCommand
from xvla_ros.nodes.arm_state import ArmStates, joint_topic
from xvla_ros.nodes.conversions import joint_positions, stamp_to_ns

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """Where all arms are, in the embodiment's order: tool poses, and joints (n,) [rad]."""

    poses: tuple[ArmPose, ...]
    joints: tuple[Vector, ...]


class Robot:
    """The arms of one embodiment with their drivers."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        arms = embodiment.arms.items()
        self._embodiment = embodiment
        self._states = ArmStates(node, embodiment)
        self._joints = {
            n: joint_topic(node, a.joint_states_topic, a.joint_names[:1]) for n, a in arms
        }
        self._limits = (
            *self._states.limits,
            *(StreamLimit(name=f'joints {n}', max_age_s=a.max_age_s) for n, a in arms),
        )
        self._drivers = {
            n: make_arm_driver(node, a, arm_kinematics(a) if a.urdf else None) for n, a in arms
        }
        self._grippers = {n: make_gripper_driver(node, a.gripper) for n, a in arms}

    def measure(self, now_ns: int) -> Measured:
        """
        Return where all arms are.

        :raises ObservationError: a state is missing, stale, from the future, or not usable.
        """
        stamps, poses = self._states.read()
        joints = []
        for name, topic in self._joints.items():
            newest = topic.nearest()
            if newest:
                stamps[f'joints {name}'] = newest[0]
                names = self._embodiment.arms[name].joint_names
                joints.append(joint_positions(newest[1], names, topic.topic))
        control = self._embodiment.control
        tolerance_s = control.future_tolerance_s
        check_streams(stamps, self._limits, now_ns, control.max_skew_s, tolerance_s)
        return Measured(poses=poses, joints=tuple(joints))

    def demand(self, targets: Sequence[ArmPose], measured: Measured) -> None:
        """
        Refuse targets before any arm begins to move towards them.

        :raises ObservationError: an arm cannot be commanded, or one of a pair cannot get there.
        """
        for (name, driver), pose in zip(self._drivers.items(), measured.poses, strict=True):
            driver.observe(pose)
            trouble = driver.trouble()
            if trouble:
                raise ObservationError(f'{name}: {trouble}')
        if len(self._drivers) > 1:
            each = zip(self._drivers.items(), targets, measured.joints, strict=True)
            _all_or_none((n, driver.objection(t, joints)) for (n, driver), t, joints in each)

    def plan(
        self, targets: Sequence[ArmPose], measured: Measured, dt_s: float
    ) -> tuple[Plan, ...]:
        """Return every arm's next step; nothing moves yet."""
        each = zip(self._drivers.values(), targets, measured.joints, strict=True)
        return tuple(driver.plan(target, joints, dt_s) for driver, target, joints in each)

    def agree(self, plans: Sequence[Plan]) -> None:
        """
        Refuse plans of which one does not lead to its target.

        :raises ObservationError: one of a pair cannot follow.
        """
        if len(plans) > 1:
            each = zip(self._drivers, plans, strict=True)
            _all_or_none((n, '' if p.reachable else '; '.join(p.reasons)) for n, p in each)

    def send(self, plans: Sequence[Plan]) -> None:
        """Command all arms and grippers."""
        for name, plan in zip(self._drivers, plans, strict=True):
            self._drivers[name].send(plan)
            self._grippers[name].send(plan.target.gripper)

    def hold(self, measured: Measured) -> None:
        """Stop all arms where they are; grippers keep what they were told."""
        each = zip(self._drivers.values(), measured.poses, measured.joints, strict=True)
        for driver, pose, joints in each:
            driver.hold(pose, joints)

    def forget(self) -> None:
        """Have every arm's next step begin where it is measured."""
        for driver in self._drivers.values():
            driver.forget()

    def hold_grippers(self) -> None:
        """Let the grippers begin nothing that they were told before."""
        for gripper in self._grippers.values():
            gripper.hold()


def farthest_m(some: Sequence[ArmPose], others: Sequence[ArmPose]) -> float:
    """Return the largest distance between the tools of two sets of poses [m]."""
    pairs = zip(some, others, strict=True)
    return max(float(np.linalg.norm(a.position - b.position)) for a, b in pairs)


def _all_or_none(objections: Iterable[tuple[str, str]]) -> None:
    """Raise when an arm, by name, objects to what the pair should do."""
    lost = [f'{name}: {objection}' for name, objection in objections if objection]
    if lost:
        raise ObservationError(f'neither arm moves, for one cannot: {"; ".join(lost)}')


def read_targets(
    message: EndEffectorCommand, embodiment: Embodiment, now_ns: int
) -> list[ArmPose]:
    """
    Return the targets of a command, in the embodiment's order.

    :raises ObservationError: it is old or from the future, is for other arms or frames, or holds
        no poses.
    """
    control = embodiment.control
    age_s = (now_ns - stamp_to_ns(message.header.stamp)) * 1e-9
    if age_s > control.hold_after_s:
        raise ObservationError(f'target is {age_s:.3f} s old, limit {control.hold_after_s} s')
    if age_s < -control.future_tolerance_s:
        raise ObservationError(
            f'target is {-age_s:.3f} s in the future, limit {control.future_tolerance_s} s'
        )
    names = [target.arm for target in message.targets]
    if names != list(embodiment.arm_names):
        raise ObservationError(
            f'target is for arms {names}, expected {list(embodiment.arm_names)}'
        )
    return [_pose(target, embodiment.arms[target.arm]) for target in message.targets]


def _pose(target: object, arm: ArmSettings) -> ArmPose:
    """Return one arm's target pose."""
    if target.frame_id != arm.base_frame:
        raise ObservationError(
            f"target of arm '{target.arm}' is in frame '{target.frame_id}', "
            f"expected '{arm.base_frame}'"
        )
    p, q = target.pose.position, target.pose.orientation
    try:
        return ArmPose(
            position=[p.x, p.y, p.z], quaternion=[q.x, q.y, q.z, q.w], gripper=target.gripper
        )
    except ValueError as error:
        raise ObservationError(f"target of arm '{target.arm}': {error}") from error
