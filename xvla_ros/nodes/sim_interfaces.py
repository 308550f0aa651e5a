# SPDX-License-Identifier: Apache-2.0
"""
The robot's side of every driver interface: what a real controller does with its commands.

An embodiment's `driver` settings choose the counterparts. Callbacks only store the newest command;
the physics thread applies it.
"""

from collections.abc import Sequence
import math
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from xvla_ros.control.drivers.driver import messages
from xvla_ros.control.drivers.interbotix import PACKAGE as INTERBOTIX_PACKAGE
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.nodes.sim_server import opening_of, Server
from xvla_ros.nodes.sim_trajectories import JointTrajectoryGripperServer, JointTrajectoryServer
from xvla_ros.sim.world import World

Vector = NDArray[np.float64]


class CartesianPoseServer(Server):
    """CRISP: follows one publisher only and takes any frame_id for its own base."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(PoseStamped, settings.command_topic)

    def objection(self, message: PoseStamped) -> str:
        """Refuse a second publisher and poses that are none."""
        if self._node.count_publishers(self._subscription.topic_name) > 1:
            return 'more than one publisher'
        values = _pose(message)
        if not np.isfinite(values).all() or not 0.9 < np.linalg.norm(values[3:]) < 1.1:
            return f'not a pose: {values.tolist()}'
        return ''

    def obey(self, world: World, message: PoseStamped) -> None:
        """Track the pose."""
        values = _pose(message)
        world.set_tool_target(self._arm, values[:3], values[3:])


class JointPositionServer(Server):
    """A forward position controller for an arm."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(Float64MultiArray, settings.command_topic)

    def objection(self, message: Float64MultiArray) -> str:
        """Refuse another number of values."""
        return _array_objection(message.data, len(self._settings.joint_names))

    def obey(self, world: World, message: Float64MultiArray) -> None:
        """Go to the joints."""
        world.set_joint_targets(self._arm, message.data)


class PiperServer(Server):
    """piper_ctrl_single_node: six joints in order, then the gripper in metres, unclamped."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(JointState, settings.command_topic)

    def objection(self, message: JointState) -> str:
        """Refuse what lacks the gripper, too: the real driver ends on it."""
        return _array_objection(message.position, 7)

    def obey(self, world: World, message: JointState) -> None:
        """Go to the joints and move the gripper."""
        *joints, gripper = message.position
        world.set_joint_targets(self._arm, joints)
        world.set_gripper(self._arm, opening_of(self._settings.gripper, gripper))


class InterbotixServer(Server):
    """xs_sdk's joint group command."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        kinds = messages('interbotix_xs_msgs.msg', INTERBOTIX_PACKAGE)
        self._listen(kinds.JointGroupCommand, settings.command_topic)

    def objection(self, message: Any) -> str:
        """Refuse another number of values."""
        return _array_objection(message.cmd, len(self._settings.joint_names))

    def obey(self, world: World, message: Any) -> None:
        """Go to the joints."""
        world.set_joint_targets(self._arm, message.cmd)


class Float64ArrayGripperServer(Server):
    """A forward position controller for fingers; the first value counts."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(Float64MultiArray, settings.gripper.command_topic)

    def objection(self, message: Float64MultiArray) -> str:
        """Refuse another number of values."""
        return _array_objection(message.data, len(self._settings.gripper.joint_names))

    def obey(self, world: World, message: Float64MultiArray) -> None:
        """Move the fingers."""
        world.set_gripper(self._arm, opening_of(self._settings.gripper, message.data[0]))


ARM_SERVERS: dict[str, type[Server]] = {
    'cartesian_pose': CartesianPoseServer,
    'joint_trajectory': JointTrajectoryServer,
    'joint_position': JointPositionServer,
    'interbotix': InterbotixServer,
    'piper': PiperServer,
}
GRIPPER_SERVERS: dict[str, type[Server]] = {
    'float64_array': Float64ArrayGripperServer,
    'joint_trajectory': JointTrajectoryGripperServer,
}


def make_servers(node: Node, name: str, arm: ArmSettings) -> list[Server]:
    """
    Return the counterparts of an arm's and its gripper's driver.

    :raises ConfigError: an interface that is not simulated, or whose messages are not installed.
    """
    servers = [ARM_SERVERS[arm.driver](node, name, arm)]
    if arm.gripper.driver == 'with_arm':
        return servers
    if arm.gripper.driver not in GRIPPER_SERVERS:
        known = ', '.join(GRIPPER_SERVERS)
        raise ConfigError(
            f"arms.{name}.gripper.driver '{arm.gripper.driver}' is not simulated; "
            f'these are: {known}'
        )
    return [*servers, GRIPPER_SERVERS[arm.gripper.driver](node, name, arm)]


def _array_objection(values: Sequence[float], size: int) -> str:
    """Return why an array of numbers is no command."""
    if len(values) != size:
        return f'{len(values)} values instead of {size}'
    return '' if all(map(math.isfinite, values)) else f'not finite: {list(values)}'


def _pose(message: PoseStamped) -> Vector:
    """Return x, y, z, qx, qy, qz, qw."""
    p, q = message.pose.position, message.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
