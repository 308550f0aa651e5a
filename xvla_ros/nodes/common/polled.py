# SPDX-License-Identifier: Apache-2.0
"""
Subscriptions whose messages are taken when they are needed, not when they arrive.

An executor wakes for every message, collects everything that could be ready and makes a Python
object of each message. This takes a tenth of a core for the state of one arm and a fifth for three
cameras, mostly for messages that are never used. Here the middleware keeps the newest few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.inputs.graph import PoseSource, Store
from xvla_ros.nodes.common.rclpy_internals import arrived, wait_for_message
from xvla_ros.nodes.common.tf_pose import TfPose


class Polled(CallbackGroup):
    """A callback group that no executor serves."""

    def can_execute(self, entity: object) -> bool:
        """Return False, so that the executor ignores the group."""
        return False


def subscribe_polled(node: Node, kind: type, topic: str, depth: int) -> Any:
    """Subscribe with sensor quality of service; keep the newest `depth` messages until taken."""
    qos = QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT
    )
    return node.create_subscription(kind, topic, lambda _: None, qos, callback_group=Polled())


def take(subscription: Any, store: Callable[[Any], None]) -> None:
    """Pass the messages that have arrived to `store`, oldest first; one thread at a time."""
    for message, _ in arrived(subscription):
        store(message)


def message_class(kind: str) -> type:
    """
    Return the Python class of a message type such as sensor_msgs/msg/Image.

    :raises ConfigError: its package is not installed.
    """
    package, _, name = kind.replace('/', '.').rpartition('.')
    try:
        found: type = getattr(import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        apt = kind.split('/')[0].replace('_', '-')
        raise ConfigError(
            f"message type '{kind}' is not installed: apt install ros-jazzy-{apt}"
        ) from error
    return found


@dataclass(frozen=True, slots=True)
class RosFeed:
    """One polled subscription."""

    subscription: Any
    store: Store
    clock: Clock

    def take(self) -> None:
        """Pass on the messages that have arrived, with their time on the node's clock."""
        now_ns, ahead_ns = 0, 0
        for message, system_ns in arrived(self.subscription):
            if not now_ns:
                now_ns = self.clock.now().nanoseconds
                ahead_ns = now_ns - time.time_ns()
            received_ns = min(system_ns + ahead_ns, now_ns) if system_ns else 0
            self.store(message, received_ns)


class RosGraph:
    """The ROS graph for inputs (`inputs.graph.Graph`), through one node."""

    def __init__(self, node: Node) -> None:
        """Start without a subscription."""
        self._node = node
        self._subscriptions: list[Any] = []

    def subscribe(self, kind: str, topic: str, store: Store, depth: int) -> RosFeed:
        """Subscribe with sensor quality of service."""
        subscription = subscribe_polled(self._node, message_class(kind), topic, depth)
        self._subscriptions.append(subscription)
        return RosFeed(subscription, store, self._node.get_clock())

    def wait(self, feeds: Sequence[RosFeed], timeout_s: float) -> None:
        """Wait until one of the feeds has a message, or for the timeout."""
        subscriptions = [feed.subscription for feed in feeds]
        wait_for_message(self._node, subscriptions, round(timeout_s * NANOSECONDS))

    def transforms(self, arm: ArmSettings) -> PoseSource:
        """Return the tool pose of an arm from TF, which the node's executor listens to."""
        before = set(self._node.subscriptions)
        pose = TfPose(self._node, arm)
        self._subscriptions += [s for s in self._node.subscriptions if s not in before]
        return pose

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
