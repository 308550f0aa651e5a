# SPDX-License-Identifier: Apache-2.0
"""
What stands in for the ROS graph when a bag is replayed without it.

The classes that read cameras and arms subscribe here as they do to a live node, and get the same
messages. Nothing of DDS is started and no clock but the bag's is read.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.formats.storage import Raw
from xvla_ros.bags.message_types import read_message
from xvla_ros.bags.topics import recorded_name
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.inputs.graph import PoseSource, Store
from xvla_ros.inputs.robot_description import filled

# Makes the source of an arm's pose from the TF that a bag holds; needs ROS's tf2.
Transforms = Callable[['BagGraph', ArmSettings], PoseSource]


@dataclass(frozen=True, slots=True, eq=False)
class BagFeed:
    """One subscription: messages are handed over when the bag comes to them."""

    topic: str
    store: Store

    def take(self) -> None:
        """Do nothing: all that has been is there."""


class BagGraph:
    """The topics of a bag as inputs see them (`inputs.graph.Graph`)."""

    def __init__(
        self, names: Iterable[str], transforms: Transforms | None = None, offset_ns: int = 0
    ) -> None:
        """
        Remember which topics the bag has.

        :param transforms: reads TF, where that is known.
        :param offset_ns: how far the recorder's clock is ahead of the one that stamps are from.
        """
        self._names, self._transforms, self._offset_ns = tuple(names), transforms, offset_ns
        self._by_name: dict[str, list[BagFeed]] = defaultdict(list)
        self._raw: dict[str, list[Callable[[Raw], None]]] = defaultdict(list)
        self.unread: Counter[str] = Counter()

    def subscribe(self, kind: str, topic: str, store: Store, depth: int) -> BagFeed:
        """Deliver the messages of a topic from now on; a topic that the bag lacks stays silent."""
        feed = BagFeed(topic, store)
        name = recorded_name(topic, self._names)
        if name is not None:
            self._by_name[name].append(feed)
        return feed

    def listen(self, topic: str, store: Callable[[Raw], None]) -> None:
        """Deliver the messages of a topic from now on as the bytes that they are."""
        name = recorded_name(topic, self._names)
        if name is not None:
            self._raw[name].append(store)

    def wait(self, feeds: Sequence[BagFeed], timeout_s: float) -> None:
        """Return at once: nothing comes while somebody waits."""

    def transforms(self, arm: ArmSettings) -> PoseSource:
        """
        Return the tool pose of an arm from the bag's TF.

        :raises ConfigError: tf2 is not there.
        """
        if self._transforms is None:
            raise ConfigError("pose_source 'tf' is replayed with ROS's tf2 only")
        return self._transforms(self, arm)

    def close(self) -> None:
        """Deliver no more."""
        self._by_name.clear()
        self._raw.clear()

    @property
    def topics(self) -> Mapping[str, object]:
        """Names of the bag's topics that somebody listens to."""
        return {**self._by_name, **self._raw}

    def deliver(self, raw: Raw) -> None:
        """
        Hand a message to those who subscribed.

        One that is no message of its type is counted in `unread` and not delivered, as a live
        middleware would drop it.
        """
        for listener in self._raw.get(raw.topic, ()):
            listener(raw)
        feeds = self._by_name.get(raw.topic, ())
        if not feeds:
            return
        try:
            message = decoded(raw)
        except ObservationError:
            self.unread[raw.topic] += 1
            return
        for feed in feeds:
            feed.store(message, raw.time_ns - self._offset_ns)


def decoded(raw: Raw) -> Any:
    """
    Return a recorded message.

    :raises ObservationError: its bytes are no message of its type.
    """
    try:
        return read_message(raw.kind, raw.data)
    except ObservationError as error:
        raise ObservationError(f'{raw.topic}: message at {raw.time_ns} ns: {error}') from error


def with_recorded_descriptions(bag: Bag, embodiment: Embodiment) -> Embodiment:
    """
    Return the embodiment with the robot descriptions that it expects on topics.

    :raises ConfigError: the bag holds none, or what it holds is no URDF.
    """

    def recorded(topic: str) -> str:
        name = recorded_name(topic, bag.topics)
        for raw in bag.messages({name} if name else ()):
            return str(decoded(raw).data)
        raise ConfigError(
            f"{bag.path}: no robot description on '{topic}': give an --embodiment with a URDF file"
        )

    return filled(embodiment, recorded)
