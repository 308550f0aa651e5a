# SPDX-License-Identifier: Apache-2.0
"""What stands in for the ROS graph when a simulation is recorded: publishers write a bag."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message

from xvla_ros.bags.writer import BagWriter
from xvla_ros.nodes.common.conversions import ns_to_stamp


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of simulated time."""

    nanoseconds: int

    def to_msg(self) -> Time:
        """Return it as a stamp."""
        return ns_to_stamp(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class RecordingPublisher:
    """Writes what it is given; without a topic in the bag it drops it."""

    node: 'RecordingNode'
    topic: str | None

    def publish(self, message: Any) -> None:
        """Record a message as received now."""
        if self.topic is not None:
            self.node.write(self.topic, serialize_message(message))

    def get_subscription_count(self) -> int:
        """Return that nobody listens."""
        return 0


class RecordingNode:
    """The part of a node that publishers use, with a clock that is set."""

    def __init__(self, name: str, writer: BagWriter, topics: set[str]) -> None:
        """Record those `topics` (absolute names) that are published here."""
        self._name, self._writer, self._topics = name, writer, topics
        self.time: Callable[[], int] = lambda: 0  # the simulation's clock [ns]

    @property
    def now_ns(self) -> int:
        """The present [ns]."""
        return self.time()

    def get_clock(self) -> 'RecordingNode':
        """Return the clock."""
        return self

    def now(self) -> Moment:
        """Return the present."""
        return Moment(self.now_ns)

    def create_publisher(self, kind: type, topic: str, qos: object) -> RecordingPublisher:
        """Return what records a topic."""
        private = topic.startswith('~')
        name = f'/{self._name}{topic[1:]}' if private else '/' + topic.lstrip('/')
        return RecordingPublisher(self, name if name in self._topics else None)

    def write(self, topic: str, data: bytes) -> None:
        """Record bytes as received now."""
        self._writer.write(topic, self.now_ns, data)
