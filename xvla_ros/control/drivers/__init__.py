# SPDX-License-Identifier: Apache-2.0
"""The driver interfaces, by the names that embodiment files use."""

from typing import Any

from xvla_ros.control.drivers.cartesian_pose import CartesianPoseDriver
from xvla_ros.control.drivers.driver import ArmDriver, ArmStep, GripperDriver
from xvla_ros.control.drivers.gripper_actions import (
    FrankaGripper,
    GripperCommandGripper,
    ParallelGripperCommandGripper,
)
from xvla_ros.control.drivers.interbotix import InterbotixDriver, InterbotixGripper
from xvla_ros.control.drivers.joint_position import Float64ArrayGripper, JointPositionDriver
from xvla_ros.control.drivers.joint_target import JointTargetDriver
from xvla_ros.control.drivers.joint_trajectory import JointTrajectoryDriver, JointTrajectoryGripper
from xvla_ros.control.drivers.piper import PiperDriver
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.settings import ArmSettings, GripperSettings

__all__ = [
    'ARM_DRIVERS',
    'GRIPPER_DRIVERS',
    'ArmDriver',
    'ArmStep',
    'GripperDriver',
    'make_arm_driver',
    'make_gripper_driver',
]

ARM_DRIVERS: dict[str, type[ArmDriver]] = {
    'cartesian_pose': CartesianPoseDriver,
    'joint_trajectory': JointTrajectoryDriver,
    'joint_position': JointPositionDriver,
    'joint_target': JointTargetDriver,
    'interbotix': InterbotixDriver,
    'piper': PiperDriver,
}


class WithArm(GripperDriver):
    """A gripper that is commanded in the arm's own message, by the arm's driver."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        pass

    def send(self, opening: float) -> None:
        """Do nothing here."""


GRIPPER_DRIVERS: dict[str, type[Any]] = {
    'float64_array': Float64ArrayGripper,
    'gripper_command': GripperCommandGripper,
    'parallel_gripper_command': ParallelGripperCommandGripper,
    'franka_gripper': FrankaGripper,
    'joint_trajectory': JointTrajectoryGripper,
    'interbotix': InterbotixGripper,
    'with_arm': WithArm,
}


def make_arm_driver(node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> ArmDriver:
    """
    Return the driver that an arm's settings name.

    :raises ConfigError: it needs messages that are not installed, or kinematics that are not
        given.
    """
    return ARM_DRIVERS[arm.driver](node, arm, kinematics)


def make_gripper_driver(node: Any, gripper: GripperSettings) -> GripperDriver:
    """
    Return the driver that a gripper's settings name.

    :raises ConfigError: it needs messages that are not installed.
    """
    driver: GripperDriver = GRIPPER_DRIVERS[gripper.driver](node, gripper)
    return driver
