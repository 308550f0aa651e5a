# SPDX-License-Identifier: Apache-2.0
"""All arms of a robot. They are measured together, and commanded together or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.control.collisions.steps import step_collisions
from xvla_ros.control.drivers import ArmStep, make_arm_driver, make_gripper_driver
from xvla_ros.control.hold_anchor import BEHIND_M
from xvla_ros.control.rest import farthest_m
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError, Reason
from xvla_ros.core.jumps import JumpWatch
from xvla_ros.core.observation import check_streams
from xvla_ros.inputs.arm_state import ArmStates
from xvla_ros.nodes.common.polled import RosGraph

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """
    The measured state of all arms, in the order of `arm_names`.

    poses: tool poses in each arm's base frame. stamps_ns: time of measurement of each pose.
    joints: (n,) [rad] of each arm.
    """

    stamps_ns: tuple[int, ...]
    poses: tuple[ArmPose, ...]
    joints: tuple[Vector, ...]


class Robot:
    """The arms of one embodiment, with their drivers and grippers."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        arms = embodiment.arms.items()
        self._embodiment = embodiment
        self._states = ArmStates(RosGraph(node), embodiment, joints=True)
        self._drivers = {
            n: make_arm_driver(node, a, arm_kinematics(a) if a.urdf else None) for n, a in arms
        }
        self._grippers = {n: make_gripper_driver(node, a.gripper) for n, a in arms}
        self.pulled = tuple(n for n, d in self._drivers.items() if d.pulls_to_target)
        self.sent: dict[str, ArmPose] = {}  # the last target sent to each arm
        self._jumps, self._jumped = JumpWatch(embodiment.arm_names), Reason()
        self._collisions = step_collisions(embodiment)
        self._joints: dict[str, Vector] = {}  # the last joints sent to each arm

    def measure(self, now_ns: int) -> Measured:
        """
        Return the measured state of all arms.

        :raises ObservationError: a state is missing, stale, in the future, or not usable.
        """
        read, control = self._states.read(), self._embodiment.control
        stamps, limits = read.stamps_ns, self._states.limits
        check_streams(stamps, limits, now_ns, control.max_skew_s, control.future_tolerance_s)
        for name, joints in zip(self._drivers, read.joints, strict=True):
            if reason := self._drivers[name].implausible(joints):
                topic = self._embodiment.arms[name].joint_states_topic
                raise ObservationError(f'{topic}: {reason}', code='joint_implausible')
        pose_stamps = tuple(stamps[f'arm {name}'] for name in self._drivers)
        self._jumped = self._jumps.look(read.poses, now_ns) or self._jumped
        return Measured(stamps_ns=pose_stamps, poses=read.poses, joints=read.joints)

    def demand(self, targets: Sequence[ArmPose], measured: Measured) -> None:
        """
        Check that every arm can be commanded to its target, before any of them moves.

        :raises ObservationError: a driver cannot take commands now, or one arm of a pair cannot
            reach its target.
        """
        for (name, driver), pose in zip(self._drivers.items(), measured.poses, strict=True):
            driver.observe(pose)
            trouble = driver.trouble()
            if trouble:
                raise ObservationError(f'{name}: {trouble}', code='driver')
        if len(self._drivers) > 1:
            each = zip(self._drivers.items(), targets, measured.joints, strict=True)
            _all_or_none((n, driver.objection(t, joints)) for (n, driver), t, joints in each)

    def plan(
        self, targets: Sequence[ArmPose], measured: Measured, dt_s: float
    ) -> tuple[ArmStep, ...]:
        """Return every arm's next step of dt_s [s]; nothing is sent yet."""
        each = zip(self._drivers.values(), targets, measured.joints, strict=True)
        return tuple(driver.plan(target, joints, dt_s) for driver, target, joints in each)

    def agree(self, plans: Sequence[ArmStep], measured: Measured) -> None:
        """
        Check that the plans of both arms of a pair reach their targets without a collision.

        :raises ObservationError: one arm cannot follow its target, or links would collide.
        """
        if len(plans) > 1:
            each = zip(self._drivers, plans, strict=True)
            _all_or_none((n, '' if p.reachable else '; '.join(p.reasons)) for n, p in each)
        if self._collisions:
            pairs = zip(self._drivers, measured.joints, strict=True)
            before = [self._joints.get(name, joints) for name, joints in pairs]
            if links := self._collisions.touching(plans, before):
                raise ObservationError(f'collision: {links}', code='collision')

    def send(self, plans: Sequence[ArmStep]) -> None:
        """Send the plans to all arms and grippers."""
        for name, plan in zip(self._drivers, plans, strict=True):
            self._drivers[name].send(plan)
            self.sent[name] = plan.target
            if plan.joints is not None:
                self._joints[name] = plan.joints
            self._grippers[name].send(plan.target.gripper)

    def hold(self, measured: Measured) -> None:
        """
        Stop all arms at their measured poses; grippers keep their last command.

        :raises ObservationError: a measured pose has jumped; the arm would jump there, too.
        """
        if self._jumped:
            raise ObservationError(self._jumped.text, self._jumped.source, self._jumped.code)
        for name in self._drivers:
            self.hold_arm(name, measured)

    def hold_arm(self, name: str, measured: Measured) -> None:
        """Stop one arm at its measured pose."""
        index = self._embodiment.arm_names.index(name)
        self._drivers[name].hold(measured.poses[index], measured.joints[index])
        self.sent[name] = measured.poses[index]
        self._joints.pop(name, None)

    def trouble(self, name: str) -> str:
        """Return why one arm cannot be commanded now; empty when it can."""
        return self._jumped.text or self._drivers[name].trouble()

    def trust(self) -> None:
        """Accept the measured poses again, at the beginning of a new motion."""
        self._jumped = Reason()

    def forget(self) -> None:
        """Reset the drivers: every arm's next step begins at its measured pose."""
        for driver in self._drivers.values():
            driver.forget()
        self._joints.clear()

    def hold_grippers(self) -> None:
        """Drop gripper commands that have not begun yet."""
        for gripper in self._grippers.values():
            gripper.hold()


def check_arrived(held: Sequence[ArmPose], measured: Sequence[ArmPose]) -> None:
    """
    Check, before a motion that follows a hold at once, that the arms are where they should hold.

    An arm elsewhere lags or was moved. A motion from either pose would make it jump. After a
    longer hold the controller begins at the measured pose.

    :raises ObservationError: an arm is more than BEHIND_M away.
    """
    if (off_m := farthest_m(held, measured)) > BEHIND_M:
        raise ObservationError(
            f'an arm is {1000 * off_m:.0f} mm from where it holds, expected at most '
            f'{1000 * BEHIND_M:.0f} mm: it may lag, or have been moved',
            code='not_arrived',
        )


def _all_or_none(objections: Iterable[tuple[str, str]]) -> None:
    """Raise an ObservationError if an arm has an objection; pairs of (arm's name, objection)."""
    lost = [f'{name}: {objection}' for name, objection in objections if objection]
    if lost:
        text = f'neither arm moves, because one cannot: {"; ".join(lost)}'
        raise ObservationError(text, code='out_of_reach')
