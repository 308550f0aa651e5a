# SPDX-License-Identifier: Apache-2.0
"""
What stands in for the ROS graph when a bag is replayed without it.

The classes that read cameras and arms subscribe here as they do to a live node, and get the same
messages of the same types. Nothing of DDS is started and no clock but the bag's is read.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.nodes.robot_description import filled
from xvla_ros.replay.bag import Bag
from xvla_ros.replay.mcap_file import Raw
from xvla_ros.replay.topics import recorded_name


@dataclass(frozen=True, slots=True)
class BagTime:
    """A moment of the bag's clock."""

    nanoseconds: int


class BagClock:
    """The bag's clock; it goes only forwards, and only when it is told to."""

    def __init__(self) -> None:
        """Begin before everything."""
        self.now_ns = 0

    def now(self) -> BagTime:
        """Return the present, as the clock of a node does."""
        return BagTime(self.now_ns)

    def advance(self, now_ns: int) -> None:
        """Go on to a time, unless it has passed."""
        self.now_ns = max(self.now_ns, now_ns)


@dataclass(frozen=True, slots=True, eq=False)
class BagSubscription:
    """What `create_subscription` returns."""

    topic: str
    kind: type
    callback: Callable[[Any], None]


class BagNode:
    """The part of a node that inputs use: subscriptions and a clock."""

    def __init__(self, clock: BagClock, names: Iterable[str]) -> None:
        """Remember which topics the bag has."""
        self._clock, self._names = clock, tuple(names)
        self._by_name: dict[str, list[BagSubscription]] = defaultdict(list)

    def get_clock(self) -> BagClock:
        """Return the bag's clock."""
        return self._clock

    def create_subscription(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: object,
        **options: object,
    ) -> BagSubscription:
        """Deliver the messages of a topic from now on; a topic that the bag lacks stays silent."""
        subscription = BagSubscription(topic, kind, callback)
        name = recorded_name(topic, self._names)
        if name is not None:
            self._by_name[name].append(subscription)
        return subscription

    def destroy_subscription(self, subscription: BagSubscription) -> None:
        """Deliver no more."""
        for subscriptions in self._by_name.values():
            if subscription in subscriptions:
                subscriptions.remove(subscription)

    @property
    def subscriptions(self) -> tuple[BagSubscription, ...]:
        """All subscriptions there are."""
        return tuple(s for each in self._by_name.values() for s in each)

    @property
    def topics(self) -> Mapping[str, object]:
        """Names of the bag's topics that somebody listens to."""
        return self._by_name

    def deliver(self, raw: Raw) -> None:
        """
        Hand a message to those who subscribed.

        :raises ObservationError: its bytes are no message of its type.
        """
        messages: dict[type, Any] = {}
        for subscription in self._by_name.get(raw.topic, ()):
            kind = subscription.kind
            if kind not in messages:
                messages[kind] = decoded(raw, kind)
            subscription.callback(messages[kind])


def decoded(raw: Raw, kind: type) -> Any:
    """
    Return a recorded message as the class of its type.

    :raises ObservationError: its bytes are no message of that type.
    """
    try:
        return deserialize_message(raw.data, kind)
    except Exception as error:  # what rosidl raises depends on what is wrong
        raise ObservationError(
            f'{raw.topic}: a message at {raw.time_ns} ns cannot be read as {raw.kind}: {error}'
        ) from error


def with_recorded_descriptions(bag: Bag, embodiment: Embodiment) -> Embodiment:
    """
    Return the embodiment with the robot descriptions that it expects on topics.

    :raises ConfigError: the bag holds none, or what it holds is no URDF.
    """

    def recorded(topic: str) -> str:
        name = recorded_name(topic, bag.topics)
        for raw in bag.messages({name} if name else ()):
            return decoded(raw, String).data
        raise ConfigError(
            f"{bag.path}: no robot description on '{topic}': give an --embodiment with a URDF file"
        )

    return filled(embodiment, recorded)
