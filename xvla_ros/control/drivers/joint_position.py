# SPDX-License-Identifier: Apache-2.0
"""Forward controllers that take joint positions as an array (position_controllers)."""

from typing import Any

from xvla_ros.control.drivers.driver import command_value, GripperDriver, messages, Vector
from xvla_ros.control.drivers.joint_tracker import JointArmDriver
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.settings import ArmSettings, GripperSettings


class ArrayPublisher:
    """Publishes Float64MultiArray."""

    def __init__(self, node: Any, topic: str) -> None:
        self._message = messages('std_msgs.msg', 'ros-jazzy-std-msgs').Float64MultiArray
        self._publisher = node.create_publisher(self._message, topic, 1)

    def publish(self, values: list[float]) -> None:
        """Send the values in order."""
        self._publisher.publish(self._message(data=values))


class JointPositionDriver(JointArmDriver):
    """An arm behind a forward position controller, joints in the order of the settings."""

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        self._array = ArrayPublisher(node, arm.command_topic)

    def command(self, joints: Vector, opening: float) -> None:
        """Send the joint positions."""
        self._array.publish(joints.tolist())


class Float64ArrayGripper(GripperDriver):
    """A gripper behind a forward position controller: one command for all its finger joints."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        self._gripper = gripper
        self._array = ArrayPublisher(node, gripper.command_topic)

    def send(self, opening: float) -> None:
        """Send the command at every step, so that a lost message does not matter."""
        if opening == opening:
            value = command_value(self._gripper, opening)
            self._array.publish([value] * len(self._gripper.joint_names))
