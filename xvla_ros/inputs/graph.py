# SPDX-License-Identifier: Apache-2.0
"""The source of messages as a protocol: a ROS graph or a bag."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.settings import ArmSettings, HEADER, RECEIVE
from xvla_ros.inputs.messages import stamp_to_ns

Vector = NDArray[np.float64]
# A tool pose: stamp [ns], position (3,) [m] and quaternion (4,) xyzw, in the arm's base frame. In
# joint space the joints (n,) [rad], too.
Pose = tuple[int, Vector, Vector] | tuple[int, Vector, Vector, Vector]
# Called with a message and its time of arrival on the graph's clock [ns]; 0: not known.
Store = Callable[[Any, int], None]
# Messages kept per topic: half a second at 100 Hz, more than the age of any usable image.
HISTORY = 64


class Feed(Protocol):
    """One subscription."""

    def take(self) -> None:
        """Pass what has arrived to the subscriber, oldest first; one thread at a time."""


class PoseSource(Protocol):
    """Gives the tool pose of one arm."""

    def read(self, stamp_ns: int | None) -> Pose | None:
        """Return the pose nearest to a time, or the last one; None when there is none."""


class Graph(Protocol):
    """A ROS graph or a bag."""

    def subscribe(self, kind: str, topic: str, store: Store, depth: int) -> Feed:
        """
        Subscribe with sensor quality of service; keep the newest `depth` messages until taken.

        :param kind: message type, such as sensor_msgs/msg/Image.
        """

    def wait(self, feeds: Sequence[Any], timeout_s: float) -> None:
        """Wait until one of the feeds has a message, or for the timeout."""

    def transforms(self, arm: ArmSettings) -> PoseSource:
        """
        Return the source of an arm's tool pose from TF.

        :raises ConfigError: TF cannot be read here.
        """

    def close(self) -> None:
        """End all subscriptions."""


class View:
    """The last messages of a topic for one reader, each with its stamp [ns]."""

    def __init__(self, topic: str, stamp_source: str = HEADER) -> None:
        """:param stamp_source: `header`, or `receive` for the time at which a message arrived."""
        self.topic = topic
        self._received = stamp_source == RECEIVE
        self._messages: deque[tuple[int, Any]] = deque(maxlen=HISTORY)

    def store(self, message: Any, received_ns: int) -> None:
        """Keep a message."""
        stamp_ns = received_ns if self._received else stamp_to_ns(message.header.stamp)
        self._messages.append((stamp_ns, message))

    def nearest(self, stamp_ns: int | None = None) -> tuple[int, Any] | None:
        """Return stamp [ns] and message nearest to a time, or the last; None without one."""
        messages = self._messages
        if not messages:
            return None
        if stamp_ns is None:
            return messages[-1]
        nearest: tuple[int, Any] | None = None
        for each in reversed(
            tuple(messages)
        ):  # from the end: the nearest is mostly one of the last
            if nearest and abs(each[0] - stamp_ns) > abs(nearest[0] - stamp_ns):
                break
            nearest = each
        return nearest


class Topics:
    """
    The topics of several readers. Each topic has one subscription.

    After `take` all views of a topic hold the same messages. The owner locks.
    """

    def __init__(self, graph: Graph) -> None:
        """Begin without any."""
        self._graph = graph
        self._views: dict[tuple[str, str], list[View]] = {}
        self._feeds: list[Feed] = []

    def show(self, kind: str, view: View) -> None:
        """Add a view, which gets its topic's messages from now on."""
        views = self._views.setdefault((kind, view.topic), [])
        views.append(view)
        if len(views) == 1:

            def store(message: Any, received_ns: int) -> None:
                for each in views:
                    each.store(message, received_ns)

            self._feeds.append(self._graph.subscribe(kind, view.topic, store, HISTORY))

    def take(self) -> None:
        """Bring all views up to date."""
        for feed in self._feeds:
            feed.take()
