# SPDX-License-Identifier: Apache-2.0
"""
CRISP's joint impedance controller, through its topic `target_joint`.

Its rules (crisp_controllers 8093548, src/cartesian_controller.cpp:348-370, :504-518): it takes
positions by index, in the order of its own parameter `joints`, and never looks at names; it does
not check how many there are; it accepts one publisher only.
"""

from typing import Any

from xvla_ros.control.drivers.driver import messages, other_publishers, Vector
from xvla_ros.control.drivers.joint_tracker import JointArmDriver
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.settings import ArmSettings


class JointTargetDriver(JointArmDriver):
    """An arm whose controller pulls its joints to the last JointState that it received."""

    pulls_to_target = True

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        self._message = messages('sensor_msgs.msg', 'ros-jazzy-sensor-msgs').JointState
        self._publisher = node.create_publisher(self._message, arm.command_topic, 1)

    def trouble(self) -> str:
        """Return whether others command this arm."""
        return other_publishers(self._node, self._publisher)

    def command(self, joints: Vector, opening: float) -> None:
        """Publish the joints [rad], all of them, in the settings' order."""
        message = self._message(name=list(self._arm.joint_names), position=joints.tolist())
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
