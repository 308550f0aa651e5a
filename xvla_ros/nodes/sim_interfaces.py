# SPDX-License-Identifier: Apache-2.0
"""
The robot's side of every driver interface: what a real controller would do with the commands it gets.

An embodiment's `driver` settings choose the counterparts. Callbacks only store the newest command; the physics thread
applies it.
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
from trajectory_msgs.msg import JointTrajectory

from xvla_ros.control.drivers.driver import messages
from xvla_ros.control.drivers.interbotix import PACKAGE as INTERBOTIX_PACKAGE
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings, GripperSettings
from xvla_ros.nodes.conversions import duration_to_s
from xvla_ros.sim.world import World

Vector = NDArray[np.float64]


class Server:
    """Takes the commands of one arm or gripper from one topic."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        self._node = node
        self._arm = arm
        self._settings = settings
        self._newest: Any = None

    def _listen(self, kind: type, topic: str) -> None:
        self._subscription = self._node.create_subscription(kind, topic, self._store, 1)

    def _store(self, message: Any) -> None:
        """Keep the newest usable command; say once in a while why others are dropped."""
        reason = self.objection(message)
        if not reason:
            self._newest = message
            return
        topic = self._subscription.topic_name
        self._node.get_logger().warning(f'{topic}: dropped: {reason}', throttle_duration_sec=2.0)

    def forget(self) -> None:
        """Drop a command that is not applied yet: the scene begins anew."""
        self._newest = None

    def apply(self, world: World, dt_s: float) -> None:
        """Apply the newest command, before the physics advance by dt_s."""
        message, self._newest = self._newest, None
        if message is not None:
            self.obey(world, message)

    def objection(self, message: Any) -> str:
        """Return why a real controller would drop this message, or an empty string."""
        raise NotImplementedError

    def obey(self, world: World, message: Any) -> None:
        """Do what the message says."""
        raise NotImplementedError


class CartesianPoseServer(Server):
    """CRISP: follows target_pose from one publisher only and takes any frame_id for its own base."""

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


class TrajectoryFollower:
    """joint_trajectory_controller's way through a trajectory: from the last reference, linear in time."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._times = np.zeros(0)
        self._points = np.zeros((0, len(names)))
        self._time_s = 0.0

    def objection(self, message: JointTrajectory) -> str:
        """Return what the controller's own validation would refuse."""
        if sorted(message.joint_names) != sorted(self._names):
            return f'joints {list(message.joint_names)} are not {self._names}'
        if not message.points:
            return 'empty trajectory'
        times = [duration_to_s(p.time_from_start) for p in message.points]
        if any(b <= a for a, b in zip([-1e-9, *times], times, strict=False)):
            return f'times {times} do not increase'
        if any(len(p.positions) != len(self._names) for p in message.points):
            return 'a point lacks positions'
        if not np.isfinite([p.positions for p in message.points]).all():
            return 'a position is not finite'
        return ''

    def begin(self, message: JointTrajectory, reference: Vector) -> None:
        """Replace what is being followed."""
        order = [list(message.joint_names).index(name) for name in self._names]
        points = np.array([p.positions for p in message.points])[:, order]
        times = [duration_to_s(p.time_from_start) for p in message.points]
        self._times, self._time_s = np.array([0.0, *times]), 0.0
        self._points = np.vstack([reference, points])

    def clear(self) -> None:
        """Follow nothing."""
        self._times = np.zeros(0)

    def advance(self, dt_s: float) -> Vector | None:
        """Return the reference after dt_s, None when nothing is being followed."""
        if not len(self._times):
            return None
        self._time_s += dt_s
        columns = self._points.T
        reference = np.array([np.interp(self._time_s, self._times, column) for column in columns])
        if self._time_s >= self._times[-1]:
            self.clear()
        return reference


class JointTrajectoryServer(Server):
    """joint_trajectory_controller for an arm."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._follower = TrajectoryFollower(settings.joint_names)
        self._reference = np.array(settings.home_rad)
        self._listen(JointTrajectory, settings.command_topic)

    def objection(self, message: JointTrajectory) -> str:
        """Refuse what the controller refuses."""
        return self._follower.objection(message)

    def obey(self, world: World, message: JointTrajectory) -> None:
        """Begin a trajectory."""
        self._follower.begin(message, self._reference)

    def forget(self) -> None:
        """End the trajectory too."""
        super().forget()
        self._follower.clear()
        self._reference = np.array(self._settings.home_rad)

    def apply(self, world: World, dt_s: float) -> None:
        """Advance along the trajectory."""
        super().apply(world, dt_s)
        reference = self._follower.advance(dt_s)
        if reference is not None:
            self._reference = reference
            world.set_joint_targets(self._arm, reference)


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
    """piper_ctrl_single_node: six joints by position in the message, then the gripper in metres, unclamped."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._listen(JointState, settings.command_topic)

    def objection(self, message: JointState) -> str:
        """Refuse fewer than six joints."""
        return _array_objection(message.position, min(max(len(message.position), 6), 7))

    def obey(self, world: World, message: JointState) -> None:
        """Go to the joints; move the gripper when it is there."""
        world.set_joint_targets(self._arm, message.position[:6])
        if len(message.position) > 6:
            gripper = self._settings.gripper
            world.set_gripper(self._arm, opening_of(gripper, message.position[6]))


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


class JointTrajectoryGripperServer(Server):
    """joint_trajectory_controller for fingers: they go to the last point at their own speed."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._follower = TrajectoryFollower(settings.gripper.joint_names)
        self._listen(JointTrajectory, settings.gripper.command_topic)

    def objection(self, message: JointTrajectory) -> str:
        """Refuse what the controller refuses."""
        return self._follower.objection(message)

    def obey(self, world: World, message: JointTrajectory) -> None:
        """Move the fingers."""
        first = list(message.joint_names).index(self._settings.gripper.joint_names[0])
        value = message.points[-1].positions[first]
        world.set_gripper(self._arm, opening_of(self._settings.gripper, value))


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
            f"arms.{name}.gripper.driver '{arm.gripper.driver}' is not simulated; these are: {known}"
        )
    return [*servers, GRIPPER_SERVERS[arm.gripper.driver](node, name, arm)]


def opening_of(gripper: GripperSettings, command: float) -> float:
    """Return the opening, 0 closed to 1 open, that a command value means."""
    span = gripper.command_open - gripper.command_closed
    return float(np.clip((command - gripper.command_closed) / span, 0.0, 1.0))


def _array_objection(values: Sequence[float], size: int) -> str:
    """Return why an array of numbers is no command."""
    if len(values) != size:
        return f'{len(values)} values instead of {size}'
    return '' if all(map(math.isfinite, values)) else f'not finite: {list(values)}'


def _pose(message: PoseStamped) -> Vector:
    """Return x, y, z, qx, qy, qz, qw."""
    p, q = message.pose.position, message.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
