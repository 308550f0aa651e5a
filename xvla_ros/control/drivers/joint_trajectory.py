# SPDX-License-Identifier: Apache-2.0
"""
ros2_controllers' joint_trajectory_controller: one point or a path, replaced at every step.

One point has no velocity, so the controller interpolates positions. A path has velocities, so it
interpolates with cubics, and ends at rest. A header stamp of zero means 'from now'.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from xvla_ros.control.drivers.driver import (
    ArmStep,
    command_value,
    GripperDriver,
    messages,
    OnChange,
    Vector,
)
from xvla_ros.control.drivers.joint_tracker import JointArmDriver
from xvla_ros.control.joint_path import JointPath
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.settings import ArmSettings, GripperSettings

# Time that the controller has to reach a point: two periods at 50 Hz, so that a late command
# leaves no gap.
HORIZON_S = 0.04


class TrajectorySender:
    """Publishes trajectories."""

    def __init__(self, node: Any, topic: str, joint_names: tuple[str, ...]) -> None:
        self._messages = messages('trajectory_msgs.msg', 'ros-jazzy-trajectory-msgs')
        self._duration = messages(
            'builtin_interfaces.msg', 'ros-jazzy-builtin-interfaces'
        ).Duration
        self._names = list(joint_names)
        self._publisher = node.create_publisher(self._messages.JointTrajectory, topic, 1)

    def publish(self, positions: Vector, time_s: float) -> None:
        """Send the joints to positions [rad or m] within a time."""
        self._publish([self._point(positions, time_s)])

    def follow(self, path: JointPath) -> None:
        """Send a path."""
        rows = zip(path.joints, path.velocities, strict=True)
        self._publish(
            self._point(q, (index + 1) * path.period_s, v) for index, (q, v) in enumerate(rows)
        )

    def _point(self, positions: Vector, time_s: float, velocities: Vector | None = None) -> Any:
        """Return a point that is due after a time [s]."""
        seconds, nanoseconds = divmod(round(time_s * NANOSECONDS), NANOSECONDS)
        return self._messages.JointTrajectoryPoint(
            positions=np.asarray(positions).tolist(),
            velocities=[] if velocities is None else velocities.tolist(),
            time_from_start=self._duration(sec=seconds, nanosec=nanoseconds),
        )

    def _publish(self, points: Iterable[Any]) -> None:
        message = self._messages.JointTrajectory(joint_names=self._names, points=list(points))
        self._publisher.publish(message)


class JointTrajectoryDriver(JointArmDriver):
    """An arm behind a joint_trajectory_controller."""

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        self._trajectory = TrajectorySender(node, arm.command_topic, arm.joint_names)

    def send(self, plan: ArmStep) -> None:
        """Send the plan's path, if it has one, and store its joints."""
        if plan.path is None:
            super().send(plan)
            return
        self._commanded = plan.joints
        self._trajectory.follow(plan.path)

    def command(self, joints: Vector, opening: float) -> None:
        """Send one point."""
        self._trajectory.publish(joints, HORIZON_S)


class JointTrajectoryGripper(GripperDriver):
    """A gripper behind a joint_trajectory_controller."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        self._gripper = gripper
        self._trajectory = TrajectorySender(node, gripper.command_topic, gripper.joint_names)
        self._travel_s = abs(gripper.open_position - gripper.closed_position) / max(
            gripper.speed, 1e-3
        )
        self._on_change = OnChange(self._command)

    def send(self, opening: float) -> None:
        """Send a point when the opening has changed."""
        self._on_change(opening)

    def _command(self, opening: float) -> None:
        value = command_value(self._gripper, opening)
        self._trajectory.publish(np.full(len(self._gripper.joint_names), value), self._travel_s)
