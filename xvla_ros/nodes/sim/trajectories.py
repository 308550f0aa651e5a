# SPDX-License-Identifier: Apache-2.0
"""The simulated joint_trajectory_controller, for arms and for fingers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from scipy.interpolate import CubicHermiteSpline
from trajectory_msgs.msg import JointTrajectory

from xvla_ros.core.settings import ArmSettings
from xvla_ros.nodes.common.conversions import duration_to_s
from xvla_ros.nodes.sim.server import opening_of, Server
from xvla_ros.sim.world import World

Vector = NDArray[np.float64]


class TrajectoryFollower:
    """
    Follows a trajectory as joint_trajectory_controller does, from the reference on.

    Points with velocities are joined by cubics (ros2_controllers, trajectory.cpp,
    interpolate_between_points), others by straight lines.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._times = np.zeros(0)
        self._points = np.zeros((0, len(names)))
        self._cubics: CubicHermiteSpline | None = None
        self._time_s = 0.0

    def objection(self, message: JointTrajectory) -> str:
        """Return why the controller would refuse a trajectory; empty when it would not."""
        if sorted(message.joint_names) != sorted(self._names):
            return f'joints {list(message.joint_names)}, expected {self._names}'
        if not message.points:
            return 'empty trajectory'
        times = [duration_to_s(p.time_from_start) for p in message.points]
        if any(b <= a for a, b in zip([-1e-9, *times], times, strict=False)):
            return f'times {times} do not increase'
        if any(len(p.positions) != len(self._names) for p in message.points):
            return 'a point lacks positions'
        if not np.isfinite([p.positions for p in message.points]).all():
            return 'a position is not finite'
        return self._moves_on(message)

    def _moves_on(self, message: JointTrajectory) -> str:
        """Return what is wrong with the velocities; none are fine, but the last must be zero."""
        counts = {len(p.velocities) for p in message.points}
        if counts not in ({0}, {len(self._names)}):
            return f'{counts} velocities per point'
        last = message.points[-1].velocities
        return 'the last velocity is not zero' if np.any(np.abs(last) > 1e-6) else ''

    def ordered(self, message: JointTrajectory) -> Vector:
        """Return the points (p, n) [rad or m] in the order of this follower's joints."""
        return self._in_order(message, [point.positions for point in message.points])

    def _in_order(self, message: JointTrajectory, rows: Sequence[Sequence[float]]) -> Vector:
        order = [list(message.joint_names).index(name) for name in self._names]
        return np.array(rows)[:, order]

    def begin(self, message: JointTrajectory, reference: Vector) -> None:
        """Follow a trajectory from now on; `reference` (n,) [rad] is where the joints are."""
        speed = self._speed()
        times = [duration_to_s(p.time_from_start) for p in message.points]
        self._times, self._time_s = np.array([0.0, *times]), 0.0
        self._points = np.vstack([reference, self.ordered(message)])
        self._cubics = None
        if len(message.points[0].velocities):
            speeds = self._in_order(message, [p.velocities for p in message.points])
            speeds = np.vstack([speed, speeds])
            self._cubics = CubicHermiteSpline(self._times, self._points, speeds)

    def _speed(self) -> Vector:
        """Return how fast the reference moves now (n,) [rad/s or m/s]; 0 on straight lines."""
        if not len(self._times) or self._cubics is None:
            return np.zeros(len(self._names))
        return np.asarray(self._cubics(self._time_s, 1))

    def clear(self) -> None:
        """Follow nothing."""
        self._times = np.zeros(0)

    def advance(self, dt_s: float) -> Vector | None:
        """Return the reference (n,) after dt_s [s], None without a trajectory."""
        if not len(self._times):
            return None
        self._time_s += dt_s
        time_s = min(self._time_s, self._times[-1])
        if self._cubics is not None:
            reference = np.asarray(self._cubics(time_s))
        else:
            reference = np.array([np.interp(time_s, self._times, x) for x in self._points.T])
        if self._time_s >= self._times[-1]:
            self.clear()
        return reference


class JointTrajectoryServer(Server):
    """joint_trajectory_controller, for an arm."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._follower = TrajectoryFollower(settings.joint_names)
        self._reference = np.array(settings.home_rad)
        self._listen(JointTrajectory, settings.command_topic)

    def objection(self, message: JointTrajectory) -> str:
        """Return why the controller would refuse it; empty when it would not."""
        return self._follower.objection(message)

    def starts_here(self, world: World, message: JointTrajectory) -> bool:
        """Compare the first point with the joints."""
        return self._are_near(world, self._follower.ordered(message)[0])

    def obey(self, world: World, message: JointTrajectory) -> None:
        """Begin to follow a trajectory."""
        self._follower.begin(message, self._reference)

    def forget(self) -> None:
        """Begin a scene; this also ends the trajectory."""
        super().forget()
        self._follower.clear()
        self._reference = np.array(self._settings.home_rad)

    def apply(self, world: World, dt_s: float, due_s: float) -> None:
        """Apply the newest trajectory, then advance along it."""
        super().apply(world, dt_s, due_s)
        reference = self._follower.advance(dt_s)
        if reference is not None:
            self._reference = reference
            world.set_joint_targets(self._arm, reference)


class JointTrajectoryGripperServer(Server):
    """joint_trajectory_controller, for fingers: they go to the last point at their own speed."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        super().__init__(node, arm, settings)
        self._follower = TrajectoryFollower(settings.gripper.joint_names)
        self._listen(JointTrajectory, settings.gripper.command_topic)

    def objection(self, message: JointTrajectory) -> str:
        """Return why the controller would refuse it; empty when it would not."""
        return self._follower.objection(message)

    def obey(self, world: World, message: JointTrajectory) -> None:
        """Set the gripper's target."""
        first = list(message.joint_names).index(self._settings.gripper.joint_names[0])
        value = message.points[-1].positions[first]
        world.set_gripper(self._arm, opening_of(self._settings.gripper, value))
