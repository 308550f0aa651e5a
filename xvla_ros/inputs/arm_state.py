# SPDX-License-Identifier: Apache-2.0
"""
The measured state of all arms from topics: tool poses and gripper openings with their stamps.

A message is taken and read when somebody asks for the state, in the asking thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
import threading
from typing import Any

from xvla_ros.bags.topics import JOINTS, POSE
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import blamed_on, ObservationError
from xvla_ros.core.gripper import implausible_position, measured_opening
from xvla_ros.core.observation import check_streams, StreamLimit
from xvla_ros.core.settings import ArmSettings, HEADER
from xvla_ros.inputs.graph import Graph, Pose, PoseSource, Topics, Vector, View
from xvla_ros.inputs.messages import joint_positions, named, pose_from_message
from xvla_ros.runtime.clock import Clock


class JointView(View):
    """Keeps the JointStates that name a wanted joint; other sources may use the same topic."""

    def __init__(self, topic: str, names: Sequence[str], stamp_source: str = HEADER) -> None:
        """:param names: names of the wanted joints."""
        super().__init__(topic, stamp_source)
        self._names, self._wanted, self._others = tuple(names), frozenset(names), ''

    def store(self, message: Any, received_ns: int) -> None:
        """Keep a message that names a wanted joint; of another one keep the names."""
        if self._wanted.isdisjoint(message.name):
            self._others = named(message)
        else:
            super().store(message, received_ns)

    def nearest(self, stamp_ns: int | None = None) -> tuple[int, Any] | None:
        """
        Return as a View does.

        :raises ObservationError: messages came, but none names a joint that is wanted.
        """
        found = super().nearest(stamp_ns)
        if found is None and self._others:
            raise ObservationError(
                f'{self.topic}: no JointState names {" or ".join(self._names)}; the last one '
                f'names {self._others}',
                code='joints_unnamed',
            )
        return found

    def positions(self, message: Any) -> Vector:
        """
        Return the positions (n,) of the wanted joints [rad or m].

        :raises ObservationError: one is missing, named twice or not finite.
        """
        return joint_positions(message, self._names, self.topic)


class PoseTopic:
    """The tool pose from a PoseStamped topic."""

    def __init__(self, topics: Topics, arm: ArmSettings) -> None:
        """Subscribe."""
        self._view = View(arm.pose_topic, arm.stamp_source)
        self._base_frame = arm.base_frame
        topics.show(POSE, self._view)

    def read(self, stamp_ns: int | None) -> Pose | None:
        """Return stamp and pose."""
        found = self._view.nearest(stamp_ns)
        return found and (
            found[0],
            *pose_from_message(found[1], self._base_frame, self._view.topic),
        )


class JointsTopic:
    """The tool pose from joint positions through the URDF."""

    def __init__(self, topics: Topics, arm: ArmSettings, postures: bool = False) -> None:
        """Subscribe and read the URDF; with `postures`, or in joint space, return joints, too."""
        from xvla_ros.control.arm_kinematics import arm_kinematics

        self._kinematics = arm_kinematics(arm)
        self._view, self._postures = arm_joints(arm), postures or bool(arm.joints)
        topics.show(JOINTS, self._view)

    def read(self, stamp_ns: int | None) -> Pose | None:
        """
        Return stamp and pose, and the joints where they are wanted.

        :raises ObservationError: a joint is missing, or the positions cannot be radians.
        """
        found = self._view.nearest(stamp_ns)
        if found is None:
            return None
        positions = self._view.positions(found[1])
        if reason := self._kinematics.limits.implausible(positions):
            raise ObservationError(f'{self._view.topic}: {reason}', code='joint_implausible')
        pose = found[0], *self._kinematics.forward(positions)
        return (*pose, positions) if self._postures else pose


def arm_joints(arm: ArmSettings) -> JointView:
    """Return the view of an arm's joints."""
    return JointView(arm.joint_states_topic, arm.joint_names, arm.stamp_source)


def first_finger(arm: ArmSettings) -> JointView:
    """Return the view of an arm's first finger joint."""
    gripper = arm.gripper
    return JointView(
        gripper.joint_states_topic or arm.joint_states_topic,
        gripper.joint_names[:1],
        gripper.stamp_source or arm.stamp_source,
    )


@dataclass(kw_only=True, slots=True)
class ArmsRead:
    """
    The state of all arms at one moment.

    stamps_ns: stamp of each stream that has arrived, by name. poses: of the arms whose streams are
    all there. joints: (n,) [rad] of each arm whose joints were asked for and have arrived.
    """

    stamps_ns: dict[str, int] = field(default_factory=dict)
    poses: tuple[ArmPose, ...] = ()
    joints: tuple[Vector, ...] = ()


class ArmStates:
    """The state of all arms of an embodiment. Any thread may ask."""

    def __init__(
        self, graph: Graph, embodiment: Embodiment, joints: bool = False, postures: bool = False
    ) -> None:
        """
        Subscribe to the arms' topics.

        :param joints: also read each arm's joint positions, as streams of their own.
        :param postures: poses that are computed from joints have the joints with them.
        """
        self._graph, self._embodiment = graph, embodiment
        self._lock = threading.Lock()  # topics and pinocchio's data are for one thread at a time
        self._topics = Topics(graph)
        arms = embodiment.arms.items()
        self._poses = {name: self._pose_source(arm, postures) for name, arm in arms}
        self._grippers = {name: first_finger(arm) for name, arm in arms}
        self._joints = {name: arm_joints(arm) for name, arm in arms if joints}
        for view in (*self._grippers.values(), *self._joints.values()):
            self._topics.show(JOINTS, view)
        streams = ('arm', 'gripper', 'joints') if joints else ('arm', 'gripper')
        self.limits = tuple(
            StreamLimit(
                name=f'{stream} {name}',
                max_age_s=arm.gripper_max_age_s if stream == 'gripper' else arm.max_age_s,
            )
            for name, arm in arms
            for stream in streams
        )

    def _pose_source(self, arm: ArmSettings, postures: bool) -> PoseSource:
        if arm.pose_source == 'tf':
            return self._graph.transforms(arm)
        if arm.pose_source == 'joints':
            return JointsTopic(self._topics, arm, postures)
        return PoseTopic(self._topics, arm)

    def close(self) -> None:
        """Unsubscribe."""
        self._graph.close()

    def read(self, stamp_ns: int | None = None) -> ArmsRead:
        """
        Return the state of the arms. Streams of one topic are read from the same messages.

        :param stamp_ns: use each stream's message nearest to this time; None: the last.
        :raises ObservationError: a message cannot be used.
        """
        with self._lock:
            self._topics.take()
            read = ArmsRead()
            for name, arm in self._embodiment.arms.items():
                self._read_arm(name, arm, stamp_ns, read)
            return read

    def _read_arm(self, name: str, arm: ArmSettings, stamp_ns: int | None, read: ArmsRead) -> None:
        with blamed_on(f'arm {name}'):
            measured = self._poses[name].read(stamp_ns)
        with blamed_on(f'gripper {name}'):
            self._read_gripper(name, arm, stamp_ns, read, measured)
        with blamed_on(f'joints {name}'):
            self._read_joints(name, stamp_ns, read)

    def _read_gripper(
        self,
        name: str,
        arm: ArmSettings,
        stamp_ns: int | None,
        read: ArmsRead,
        measured: Pose | None,
    ) -> None:
        """Read a gripper's opening and join it with the tool's pose."""
        finger = self._grippers[name].nearest(stamp_ns)
        if measured:
            read.stamps_ns[f'arm {name}'] = measured[0]
        if finger:
            read.stamps_ns[f'gripper {name}'] = finger[0]
        if measured and finger:
            opening = self._opening(name, arm, finger[1])
            joints = measured[3] if len(measured) == 4 else None
            pose = ArmPose(
                position=measured[1], quaternion=measured[2], gripper=opening, joints=joints
            )
            read.poses = (*read.poses, pose)

    def _read_joints(self, name: str, stamp_ns: int | None, read: ArmsRead) -> None:
        joints = self._joints[name].nearest(stamp_ns) if name in self._joints else None
        if joints:
            read.stamps_ns[f'joints {name}'] = joints[0]
            read.joints = (*read.joints, self._joints[name].positions(joints[1]))

    def _opening(self, name: str, arm: ArmSettings, message: Any) -> float:
        """Return a gripper's opening, 0 closed to 1 open."""
        view = self._grippers[name]
        (position,) = view.positions(message)
        if reason := implausible_position(arm.gripper, position):
            text = f'{view.topic}: gripper {name}: {reason}'
            raise ObservationError(text, code='gripper_implausible')
        return measured_opening(arm.gripper, position)


class ArmReader:
    """Reads all arms if every stream is there and fresh."""

    def __init__(self, embodiment: Embodiment, states: ArmStates, clock: Clock) -> None:
        """Remember what to read."""
        self._control, self._states, self._clock = embodiment.control, states, clock

    def read(self) -> tuple[ArmPose, ...]:
        """
        Return one measured pose per arm.

        :raises ObservationError: naming the stream that is missing, stale, from the future or
            malformed.
        """
        read = self._states.read()
        now_ns = self._clock.now_ns()
        # No limit on skew here: no images are compared, and each stream has its own age limit.
        tolerance_s = self._control.future_tolerance_s
        check_streams(read.stamps_ns, self._states.limits, now_ns, float('inf'), tolerance_s)
        return read.poses
