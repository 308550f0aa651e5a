# SPDX-License-Identifier: Apache-2.0
"""Interbotix arms (WidowX) through the messages of interbotix_xs_sdk."""

from typing import Any

from xvla_ros.control.drivers.driver import (
    command_value,
    GripperDriver,
    messages,
    OnChange,
    Vector,
)
from xvla_ros.control.drivers.joint_tracker import JointArmDriver
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.settings import ArmSettings, GripperSettings

# Not in Jazzy's apt index (ros/rosdistro 8468e88).
PACKAGE = 'from source: build interbotix_xs_msgs of interbotix_ros_core in your workspace'
# Names of the joint group and of the gripper motor (interbotix_xsarm_control,
# config/wx250s.yaml).
ARM_GROUP = 'arm'
GRIPPER_JOINT = 'gripper'


class InterbotixDriver(JointArmDriver):
    """An arm behind xs_sdk, in position mode."""

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        self._message = messages('interbotix_xs_msgs.msg', PACKAGE).JointGroupCommand
        self._publisher = node.create_publisher(self._message, arm.command_topic, 1)

    def command(self, joints: Vector, opening: float) -> None:
        """Send the group's joint positions [rad]."""
        self._publisher.publish(self._message(name=ARM_GROUP, cmd=joints.tolist()))


class InterbotixGripper(GripperDriver):
    """The gripper motor behind xs_sdk; the command's unit is that of its operating mode."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        self._gripper = gripper
        self._message = messages('interbotix_xs_msgs.msg', PACKAGE).JointSingleCommand
        self._publisher = node.create_publisher(self._message, gripper.command_topic, 1)
        self._on_change = OnChange(self._command)

    def send(self, opening: float) -> None:
        """Send a command when the opening has changed."""
        self._on_change(opening)

    def _command(self, opening: float) -> None:
        self._publisher.publish(
            self._message(name=GRIPPER_JOINT, cmd=command_value(self._gripper, opening))
        )
