# SPDX-License-Identifier: Apache-2.0
"""
The measured state of all arms, from topics: tool poses and gripper openings with their stamps.

Callbacks only store; messages are read when they are used, in whichever thread asks.
"""

from collections import deque
from collections.abc import Callable, Mapping
import threading
from typing import Protocol

from geometry_msgs.msg import PoseStamped
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.gripper import measured_opening
from xvla_ros.core.observation import StreamLimit
from xvla_ros.core.settings import ArmSettings
from xvla_ros.nodes.conversions import (
    joint_positions,
    pose_from_message,
    stamp_to_ns,
)
from xvla_ros.nodes.polled import subscribe_polled, take
from xvla_ros.nodes.tf_pose import TfPose

Vector = NDArray[np.float64]
HISTORY = (
    64  # messages kept per topic: half a second at 100 Hz, more than the age of any usable image
)


class Topic:
    """
    The last messages of one topic, taken from the middleware when they are asked for.

    Any thread may ask.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, wanted: Callable[[object], bool] = lambda _: True
    ) -> None:
        """Subscribe; `wanted` tells our messages when several sources share a topic."""
        self.topic = topic
        self._wanted = wanted
        self._messages: deque[object] = deque(maxlen=HISTORY)
        self._taking = threading.Lock()
        self.subscription = subscribe_polled(node, kind, topic, self._store, HISTORY)

    def _store(self, message: object) -> None:
        if self._wanted(message):
            self._messages.append(message)

    def nearest(self, stamp_ns: int | None = None) -> tuple[int, object] | None:
        """Return stamp [ns] and message nearest to a time, or the last; None before any."""
        with self._taking:
            take(self.subscription, self._store)
        messages = self._messages
        if not messages:
            return None
        if stamp_ns is None:
            return stamp_to_ns(messages[-1].header.stamp), messages[-1]
        nearest: tuple[int, object] | None = None
        for message in reversed(tuple(messages)):  # mostly one of the last is it
            found_ns = stamp_to_ns(message.header.stamp)
            if nearest and abs(found_ns - stamp_ns) > abs(nearest[0] - stamp_ns):
                break
            nearest = found_ns, message
        return nearest


class PoseSource(Protocol):
    """Where the tool pose of one arm comes from."""

    def read(self, stamp_ns: int | None) -> tuple[int, Vector, Vector] | None:
        """Return stamp [ns], position (3,), quaternion (4,) nearest to a time; None before any."""


class PoseTopic:
    """The tool pose from a PoseStamped topic."""

    def __init__(self, node: Node, arm: ArmSettings) -> None:
        """Subscribe."""
        self._topic = Topic(node, PoseStamped, arm.pose_topic)
        self._base_frame = arm.base_frame

    def read(self, stamp_ns: int | None) -> tuple[int, Vector, Vector] | None:
        """Return stamp and pose."""
        found = self._topic.nearest(stamp_ns)
        return found and (
            found[0],
            *pose_from_message(found[1], self._base_frame, self._topic.topic),
        )


class JointsTopic:
    """The tool pose from joint positions through the URDF."""

    def __init__(self, node: Node, arm: ArmSettings) -> None:
        """Subscribe and read the URDF."""
        from xvla_ros.control.arm_kinematics import arm_kinematics

        self._kinematics = arm_kinematics(arm)
        self._topic = joint_topic(node, arm.joint_states_topic, arm.joint_names)
        self._lock = threading.Lock()

    def read(self, stamp_ns: int | None) -> tuple[int, Vector, Vector] | None:
        """Return stamp and pose."""
        found = self._topic.nearest(stamp_ns)
        if found is None:
            return None
        positions = joint_positions(found[1], self._kinematics.joint_names, self._topic.topic)
        with self._lock:  # pinocchio keeps its intermediate results between calls
            return found[0], *self._kinematics.forward(positions)


SOURCES: Mapping[str, Callable[[Node, ArmSettings], PoseSource]] = {
    'pose': PoseTopic,
    'joints': JointsTopic,
    'tf': TfPose,
}


def joint_topic(node: Node, topic: str, names: tuple[str, ...]) -> Topic:
    """Subscribe to the JointStates that hold any of `names`: others may share the topic."""
    wanted = frozenset(names)
    return Topic(node, JointState, topic, lambda message: not wanted.isdisjoint(message.name))


class ArmStates:
    """The state of all arms of an embodiment."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe to everything that the embodiment names."""
        self._node, self._embodiment = node, embodiment
        before = set(node.subscriptions)
        arms = embodiment.arms.items()
        self._poses = {name: SOURCES[arm.pose_source](node, arm) for name, arm in arms}
        self._grippers = {
            name: joint_topic(
                node,
                arm.gripper.joint_states_topic or arm.joint_states_topic,
                arm.gripper.joint_names[:1],
            )
            for name, arm in arms
        }
        self._subscriptions = [s for s in node.subscriptions if s not in before]
        self.limits = tuple(
            StreamLimit(name=stream, max_age_s=arm.max_age_s)
            for name, arm in arms
            for stream in (f'arm {name}', f'gripper {name}')
        )

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def read(self, stamp_ns: int | None = None) -> tuple[dict[str, int], tuple[ArmPose, ...]]:
        """
        Return the stamps that have arrived, by stream name, and the poses of all complete arms.

        :param stamp_ns: take each stream's message nearest to this time; None takes the last.
        :raises ObservationError: a message cannot be used.
        """
        stamps: dict[str, int] = {}
        poses: list[ArmPose] = []
        for name, arm in self._embodiment.arms.items():
            measured = self._poses[name].read(stamp_ns)
            finger = self._grippers[name].nearest(stamp_ns)
            if measured:
                stamps[f'arm {name}'] = measured[0]
            if finger:
                stamps[f'gripper {name}'] = finger[0]
            if measured and finger:
                names, topic = arm.gripper.joint_names[:1], self._grippers[name].topic
                (position,) = joint_positions(finger[1], names, topic)
                opening = measured_opening(arm.gripper, position)
                poses.append(
                    ArmPose(position=measured[1], quaternion=measured[2], gripper=opening)
                )
        return stamps, tuple(poses)
