# SPDX-License-Identifier: Apache-2.0
"""Arms that take joint positions: converts each tool target into a step of the joints."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from xvla_ros.control.drivers.driver import ArmDriver, ArmStep, Vector
from xvla_ros.control.inverse.solver import IkResult
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings

# A target that is missed by less than this counts as reached: small against the demo task's 3 cm,
# large against the solver's tolerance.
REACHED_M = 0.005
REACHED_RAD = 0.05
# Targets nearer than this are one step away: at 50 Hz, 1 m/s and 5 rad/s.
NEAR_M = 0.02
NEAR_RAD = 0.1
# Number of stored postures to try before a target counts as out of reach.
RESTARTS = 8


class JointArmDriver(ArmDriver):
    """
    An arm that is commanded in joint space, without jumps to another posture.

    A step starts from the last commanded joints, so that the arm's following error, such as sag,
    does not enter the command. The first step of a motion starts from the measured joints.
    An arm of fewer than six joints reaches a target when it is at its position. The target of its
    step has the rotation that the arm takes instead of the wanted one.
    """

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        if kinematics is None:
            raise ConfigError(f"driver '{arm.driver}' commands joints and needs the arm's urdf")
        self._solver = kinematics
        self._commanded: Vector | None = None
        # Build the solver's table of postures now, because it takes a third of a second.
        far = np.full(3, 10.0)
        kinematics.inverse(far, np.array([0, 0, 0, 1]), kinematics.posture, restarts=1)

    def implausible(self, joints: Vector) -> str:
        """Compare measured joints with the URDF's limits, in case they have another unit."""
        return self._solver.limits.implausible(joints)

    def objection(self, target: ArmPose, joints: Vector) -> str:
        """Search for joints that reach the target, also in other postures."""
        if target.joints is not None:
            return ''
        near = self._near(joints, target)
        if near or self._reached(
            found := self._solver.inverse(
                target.position, target.quaternion, self._start(joints), restarts=RESTARTS
            )
        ):
            return ''
        return f'target out of reach, {1000 * found.position_error_m:.0f} mm off: {found.reason}'

    def plan(self, target: ArmPose, joints: Vector, dt_s: float) -> ArmStep:
        """
        Return the joints one step closer to the target, within speed and position limits.

        A target that has joints is used unchanged, because the gate has limited it.
        """
        if target.joints is not None:
            return ArmStep(target=target, joints=target.joints)
        start = self._start(joints)
        step = self._solver.track(start, target.position, target.quaternion, dt_s)
        reasons = self._turned(step)
        if self._reached(step):
            beyond = self._solver.limits.beyond(start)
            reasons += (beyond,) if beyond else ()
            return ArmStep(target=self._taken(target, step), joints=step.q, reasons=reasons)
        goal = self._solver.inverse(target.position, target.quaternion, seed=start, restarts=0)
        if self._reached(goal):
            reasons += (f'slowed: {step.reason}',)
            return ArmStep(target=self._taken(target, step), joints=step.q, reasons=reasons)
        off_mm = 1000 * goal.position_error_m
        reason = f'clamped to the nearest reachable pose, {off_mm:.0f} mm off: {goal.reason}'
        return ArmStep(target=target, joints=step.q, reachable=False, reasons=(reason,))

    def send(self, plan: ArmStep) -> None:
        """Send the plan's joints and store them."""
        assert plan.joints is not None
        self._commanded = plan.joints
        self.command(plan.joints, plan.target.gripper)

    def hold(self, measured: ArmPose, joints: Vector) -> None:
        """Send the measured joints once."""
        self.forget()
        self.command(joints, np.nan)

    def forget(self) -> None:
        """Start the next step from the measured joints."""
        self._commanded = None

    @abstractmethod
    def command(self, joints: Vector, opening: float) -> None:
        """Publish joints (n,) [rad]; the opening is for grippers in the arm's message."""

    def _near(self, joints: Vector, target: ArmPose) -> bool:
        """Tell whether a target is at most one step away; then `plan` shows if it is in reach."""
        position, quaternion = self._solver.forward(self._start(joints))
        turn = 2 * np.arccos(min(1.0, abs(float(quaternion @ target.quaternion))))
        distance = float(np.linalg.norm(position - target.position))
        return distance < NEAR_M and (self._solver.position_first or bool(turn < NEAR_RAD))

    def _start(self, joints: Vector) -> Vector:
        """Return the joints that the next step starts from."""
        return joints if self._commanded is None else self._commanded

    def _reached(self, result: IkResult) -> bool:
        """Tell whether joints are near enough to a target."""
        turned = self._solver.position_first or result.rotation_error_rad < REACHED_RAD
        return result.position_error_m < REACHED_M and turned

    def _taken(self, target: ArmPose, step: IkResult) -> ArmPose:
        """Return a target with the rotation that an arm of too few joints takes instead."""
        if not self._solver.position_first:
            return target
        return replace(target, quaternion=self._solver.forward(step.q)[1])

    def _turned(self, step: IkResult) -> tuple[str, ...]:
        """Return that an arm of too few joints does not take a rotation; nothing if it does."""
        if not self._solver.position_first or step.rotation_error_rad < REACHED_RAD:
            return ()
        count = len(self._solver.joint_names)
        off = f'{step.rotation_error_rad:.1f} rad off'
        return (f'turned as far as {count} joints go at this position, {off}',)
