# SPDX-License-Identifier: Apache-2.0
"""
AgileX Piper, through the JointState command of piper_ros (piper_ctrl_single_node.py).

Notes on the driver:
- joint_states may be a *command* topic: start_single_piper.launch.py remaps joint_ctrl_single
  to it.
- The gripper is the seventh joint, in metres. A command without it ends the driver, and some
  branches do not clamp it: it is always sent, and clamped here.
- end_pose_stamped has an empty frame_id and is the pose of the flange, not of the tool: the pose
  is computed from joints through the URDF.
- PosCmd is not used. Its units are millimetres and degrees in some branches, metres and radians in
  others, and messages do not tell which; positions are rounded to a millimetre.
"""

from typing import Any

from xvla_ros.control.drivers.driver import command_value, messages, Vector
from xvla_ros.control.drivers.joint_tracker import JointArmDriver
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings

# Order and names in which the driver reads a command; it indexes by position.
COMMAND_NAMES = ['joint1', 'joint2', 'joint3', 'joint4', 'joint5', 'joint6', 'gripper']
# Travel of the gripper [m].
GRIPPER_MIN_M = 0.0
GRIPPER_MAX_M = 0.08


class PiperDriver(JointArmDriver):
    """One Piper; its gripper is part of the arm's message."""

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        if arm.command_topic == arm.joint_states_topic:
            raise ConfigError(
                f"'{arm.command_topic}' is both command_topic and joint_states_topic: start the "
                'Piper driver so that joint_ctrl_single is not remapped to its joint states, as '
                'start_single_piper.launch.py does'
            )
        self._message = messages('sensor_msgs.msg', 'ros-jazzy-sensor-msgs').JointState
        self._publisher = node.create_publisher(self._message, arm.command_topic, 1)
        self._opening = float('nan')

    def observe(self, measured: ArmPose) -> None:
        """Use the measured opening until the gripper gets a command."""
        if self._opening != self._opening:
            self._opening = measured.gripper

    def hold(self, measured: ArmPose, joints: Vector) -> None:
        """Command the measured joints; the gripper keeps its last command or measured opening."""
        self.observe(measured)
        super().hold(measured, joints)

    def command(self, joints: Vector, opening: float) -> None:
        """Publish the joints [rad] and the gripper [m]."""
        self._opening = self._opening if opening != opening else opening
        gripper = command_value(self._arm.gripper, self._opening)
        positions = [*joints.tolist(), min(max(gripper, GRIPPER_MIN_M), GRIPPER_MAX_M)]
        message = self._message(name=COMMAND_NAMES, position=positions)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
