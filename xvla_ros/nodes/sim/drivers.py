# SPDX-License-Identifier: Apache-2.0
"""
The robot's side of every driver interface: each class does what a real controller does.

An embodiment's `driver` settings choose the classes. Callbacks only store commands; the
simulation's thread applies the newest.
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
from xvla_ros.nodes.sim.server import NEAR_M, opening_of, Server
from xvla_ros.nodes.sim.trajectories import JointTrajectoryGripperServer, JointTrajectoryServer
from xvla_ros.sim.world import World

Vector = NDArray[np.float64]


class CartesianPoseServer(Server):
    """CRISP's controller: it follows only one publisher, and ignores frame_id."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(PoseStamped, settings.command_topic)

    def objection(self, message: PoseStamped) -> str:
        """Return why the command is dropped: a second publisher, or a pose that is not valid."""
        if crowd := self.crowd():
            return crowd
        values = _pose(message)
        if not np.isfinite(values).all() or not 0.9 < np.linalg.norm(values[3:]) < 1.1:
            return f'not a pose, expected metres and a unit quaternion: {values.tolist()}'
        return ''

    def starts_here(self, world: World, message: PoseStamped) -> bool:
        """Compare the position with the tool's."""
        off = _pose(message)[:3] - world.tool_pose(self._arm).position
        return bool(np.linalg.norm(off) < NEAR_M)

    def obey(self, world: World, message: PoseStamped) -> None:
        """Set the tool's target."""
        values = _pose(message)
        world.set_tool_target(self._arm, values[:3], values[3:])


class JointPositionServer(Server):
    """ros2_controllers' forward position controller, for an arm."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(Float64MultiArray, settings.command_topic)

    def objection(self, message: Float64MultiArray) -> str:
        """Return why the command is dropped: not one finite value per joint."""
        return _array_objection(message.data, len(self._settings.joint_names))

    def starts_here(self, world: World, message: Float64MultiArray) -> bool:
        """Compare the joint targets with the joints."""
        return self._are_near(world, message.data[: len(self._settings.joint_names)])

    def obey(self, world: World, message: Float64MultiArray) -> None:
        """Set the joint targets."""
        world.set_joint_targets(self._arm, message.data)


class JointTargetServer(Server):
    """CRISP's joint impedance: it follows only one publisher, and joints by index."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(JointState, settings.command_topic)

    def objection(self, message: JointState) -> str:
        """Return why the command is dropped. More joints than it has would crash the real one."""
        count = len(self._settings.joint_names)
        return self.crowd() or _array_objection(message.position, count)

    def starts_here(self, world: World, message: JointState) -> bool:
        """Compare the joint targets with the joints."""
        return self._are_near(world, message.position)

    def obey(self, world: World, message: JointState) -> None:
        """Set the joint targets."""
        world.set_joint_targets(self._arm, message.position)


class PiperServer(Server):
    """piper_ctrl_single_node: a position for each of six joints, then the gripper [m]."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(JointState, settings.command_topic)

    def objection(self, message: JointState) -> str:
        """Return why the command is dropped. Without the gripper the real driver would crash."""
        return _array_objection(message.position, 7)

    def starts_here(self, world: World, message: JointState) -> bool:
        """Compare the joint targets with the joints."""
        return self._are_near(world, message.position[:-1])

    def obey(self, world: World, message: JointState) -> None:
        """Set the joint targets and the gripper's."""
        *joints, gripper = message.position
        world.set_joint_targets(self._arm, joints)
        world.set_gripper(self._arm, opening_of(self._settings.gripper, gripper))


class InterbotixServer(Server):
    """The joint group command of Interbotix' xs_sdk."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        kinds = messages('interbotix_xs_msgs.msg', INTERBOTIX_PACKAGE)
        self._listen(kinds.JointGroupCommand, settings.command_topic)

    def objection(self, message: Any) -> str:
        """Return why the command is dropped: not one finite value per joint."""
        return _array_objection(message.cmd, len(self._settings.joint_names))

    def starts_here(self, world: World, message: Any) -> bool:
        """Compare the joint targets with the joints."""
        return self._are_near(world, message.cmd)

    def obey(self, world: World, message: Any) -> None:
        """Set the joint targets."""
        world.set_joint_targets(self._arm, message.cmd)


class Float64ArrayGripperServer(Server):
    """ros2_controllers' forward position controller, for fingers; it uses the first value."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(Float64MultiArray, settings.gripper.command_topic)

    def objection(self, message: Float64MultiArray) -> str:
        """Return why the command is dropped: not one finite value per finger joint."""
        return _array_objection(message.data, len(self._settings.gripper.joint_names))

    def obey(self, world: World, message: Float64MultiArray) -> None:
        """Set the gripper's target."""
        world.set_gripper(self._arm, opening_of(self._settings.gripper, message.data[0]))


ARM_SERVERS: dict[str, type[Server]] = {
    'cartesian_pose': CartesianPoseServer,
    'joint_trajectory': JointTrajectoryServer,
    'joint_position': JointPositionServer,
    'joint_target': JointTargetServer,
    'interbotix': InterbotixServer,
    'piper': PiperServer,
}
GRIPPER_SERVERS: dict[str, type[Server]] = {
    'float64_array': Float64ArrayGripperServer,
    'joint_trajectory': JointTrajectoryGripperServer,
}


def make_servers(node: Node, name: str, arm: ArmSettings) -> list[Server]:
    """
    Return the simulated counterparts of the drivers of an arm and its gripper.

    :param name: the arm's name in the embodiment.
    :raises ConfigError: an interface is not simulated, or its messages are not installed.
    """
    servers = [ARM_SERVERS[arm.driver](node, name, arm)]
    if arm.gripper.driver == 'with_arm':
        return servers
    if arm.gripper.driver not in GRIPPER_SERVERS:
        known = ', '.join(GRIPPER_SERVERS)
        raise ConfigError(
            f"arms.{name}.gripper.driver '{arm.gripper.driver}' is not simulated, "
            f'expected one of {known}'
        )
    return [*servers, GRIPPER_SERVERS[arm.gripper.driver](node, name, arm)]


def _array_objection(values: Sequence[float], size: int) -> str:
    """Return why an array of numbers is not a command; empty when it is one."""
    if len(values) != size:
        return f'{len(values)} values, expected {size}'
    return '' if all(map(math.isfinite, values)) else f'not finite: {list(values)}'


def _pose(message: PoseStamped) -> Vector:
    """Return a pose as (7,): x, y, z [m], qx, qy, qz, qw."""
    p, q = message.pose.position, message.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
