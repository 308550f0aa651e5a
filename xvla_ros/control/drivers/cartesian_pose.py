# SPDX-License-Identifier: Apache-2.0
"""
Cartesian controllers that follow a PoseStamped: CRISP, FZI's motion controller, MoveIt Servo.

Their rules: FZI drops poses whose frame_id is not its robot_base_link; CRISP accepts one publisher
only (and ignores frame_id); Servo follows poses only after its command type was switched
(moveit_msgs/srv/ServoCommandType).
"""

from typing import Any

from xvla_ros.control.drivers.driver import (
    ArmDriver,
    ArmStep,
    messages,
    other_publishers,
    Vector,
)
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.settings import ArmSettings

# MoveIt Servo's default name for its pose input; a topic of this name is taken for Servo's.
SERVO_TOPIC = 'pose_target_cmds'


class CartesianPoseDriver(ArmDriver):
    """An arm behind a controller that solves its own kinematics."""

    pulls_to_target = True

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        super().__init__(node, arm, kinematics)
        self._message = messages('geometry_msgs.msg', 'ros-jazzy-geometry-msgs').PoseStamped
        self._publisher = node.create_publisher(self._message, arm.command_topic, 1)
        servo = arm.command_topic.rsplit('/', 1)[-1] == SERVO_TOPIC
        self._switch = ServoSwitch(node, arm.command_topic) if servo else None

    def trouble(self) -> str:
        """Return an error if others command this arm or MoveIt Servo is not ready."""
        others = other_publishers(self._node, self._publisher)
        return others or (self._switch.trouble() if self._switch else '')

    def implausible(self, joints: Vector) -> str:
        """Return why joints (n,) cannot be radians, as far as the robot's description shows."""
        return self._kinematics.limits.implausible(joints) if self._kinematics else ''

    def plan(self, target: ArmPose, joints: Vector, dt_s: float) -> ArmStep:
        """Return the target unchanged; the driver's controller computes the joints."""
        return ArmStep(target=target)

    def send(self, plan: ArmStep) -> None:
        """Publish the target pose."""
        self._publish(plan.target)

    def hold(self, measured: ArmPose, joints: Vector) -> None:
        """Send the measured pose as target, so that the arm stops moving to its last target."""
        self._publish(measured)

    def _publish(self, pose: ArmPose) -> None:
        message = self._message()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.header.frame_id = self._arm.command_frame or self._arm.base_frame
        position, orientation = message.pose.position, message.pose.orientation
        position.x, position.y, position.z = pose.position.tolist()
        orientation.x, orientation.y, orientation.z, orientation.w = pose.quaternion.tolist()
        self._publisher.publish(message)


class ServoSwitch:
    """Switches MoveIt Servo to pose commands after each start of Servo, without blocking."""

    def __init__(self, node: Any, command_topic: str) -> None:
        self._service = messages('moveit_msgs.srv', 'ros-jazzy-moveit-msgs').ServoCommandType
        name = f'{command_topic.rsplit("/", 1)[0]}/switch_command_type'
        self._client = node.create_client(self._service, name)
        self._answer: Any = None

    def trouble(self) -> str:
        """Request the switch when the service exists; return what is still missing."""
        if not self._client.service_is_ready():
            self._answer = None  # a restarted Servo needs the switch again
            return f'no service {self._client.srv_name}: is MoveIt Servo running?'
        if self._answer is None:
            request = self._service.Request(command_type=self._service.Request.POSE)
            self._answer = self._client.call_async(request)
        if not self._answer.done():
            return 'waiting for MoveIt Servo to switch to pose commands'
        if self._answer.result() is None or not self._answer.result().success:
            self._answer = None
            return 'MoveIt Servo refused to switch to pose commands'
        return ''
