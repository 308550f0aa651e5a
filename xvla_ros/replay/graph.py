# SPDX-License-Identifier: Apache-2.0
"""
Replaces the ROS graph in a replay without ROS.

The classes that read cameras and arms subscribe here as with a live node, and get the same
messages. DDS is not started, and the bag's clock is the only one.
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

# Makes the source of an arm's pose from the TF in a bag; needs ROS's tf2.
Transforms = Callable[['BagGraph', ArmSettings], PoseSource]


@dataclass(frozen=True, slots=True, eq=False)
class BagFeed:
    """One subscription; its messages are delivered as the bag is read."""

    topic: str
    store: Store

    def take(self) -> None:
        """Do nothing, because all messages up to now have been delivered."""


class BagGraph:
    """The topics of a bag for inputs (`inputs.graph.Graph`)."""

    def __init__(
        self, names: Iterable[str], transforms: Transforms | None = None, offset_ns: int = 0
    ) -> None:
        """
        Store the bag's topics.

        :param transforms: reads TF; None: TF cannot be read.
        :param offset_ns: how far the recorder's clock is ahead of the stamps' clock.
        """
        self._names, self._transforms, self._offset_ns = tuple(names), transforms, offset_ns
        self._by_name: dict[str, list[BagFeed]] = defaultdict(list)
        self._raw: dict[str, list[Callable[[Raw], None]]] = defaultdict(list)
        self.unread: Counter[str] = Counter()

    def subscribe(self, kind: str, topic: str, store: Store, depth: int) -> BagFeed:
        """Deliver the messages of a topic from now on; a topic not in the bag has none."""
        feed = BagFeed(topic, store)
        name = recorded_name(topic, self._names)
        if name is not None:
            self._by_name[name].append(feed)
        return feed

    def listen(self, topic: str, store: Callable[[Raw], None]) -> None:
        """Deliver the messages of a topic from now on as bytes."""
        name = recorded_name(topic, self._names)
        if name is not None:
            self._raw[name].append(store)

    def wait(self, feeds: Sequence[BagFeed], timeout_s: float) -> None:
        """Return at once, because no message comes during a wait."""

    def transforms(self, arm: ArmSettings) -> PoseSource:
        """
        Return the source of an arm's tool pose from the bag's TF.

        :raises ConfigError: tf2 is not installed.
        """
        if self._transforms is None:
            raise ConfigError("pose_source 'tf' is replayed with ROS's tf2 only")
        return self._transforms(self, arm)

    def close(self) -> None:
        """End all subscriptions."""
        self._by_name.clear()
        self._raw.clear()

    @property
    def topics(self) -> Mapping[str, object]:
        """Names of the bag's topics with a subscription."""
        return {**self._by_name, **self._raw}

    def deliver(self, raw: Raw) -> None:
        """
        Deliver a message to its subscriptions.

        A message that is not valid for its type is counted in `unread` and dropped, as a live
        middleware would do.
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

    :raises ObservationError: its bytes are not valid for its type.
    """
    try:
        return read_message(raw.kind, raw.data)
    except ObservationError as error:
        raise ObservationError(f'{raw.topic}: message at {raw.time_ns} ns: {error}') from error


def with_recorded_descriptions(bag: Bag, embodiment: Embodiment) -> Embodiment:
    """
    Return the embodiment with the recorded robot descriptions that it expects on topics.

    :raises ConfigError: the bag has none, or it is no URDF.
    """

    def recorded(topic: str) -> str:
        name = recorded_name(topic, bag.topics)
        for raw in bag.messages({name} if name else ()):
            return str(decoded(raw).data)
        raise ConfigError(
            f"{bag.path}: no robot description on '{topic}': give an --embodiment with a URDF file"
        )

    return filled(embodiment, recorded)
