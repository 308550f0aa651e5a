# SPDX-License-Identifier: Apache-2.0
"""A bag as live topics, with the timing that it was recorded with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import signal
import threading
import time

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.nodes.conversions import ns_to_stamp
from xvla_ros.nodes.record import message_class
from xvla_ros.replay.bag import Bag, open_bag
from xvla_ros.replay.mcap_file import Raw
from xvla_ros.replay.message_types import begins_with_header, header_stamp_ns, moved_stamp
from xvla_ros.replay.timeline import clock_offset_ns
from xvla_ros.replay.topics import (
    COMPRESSED,
    description_streams,
    IMAGE,
    observation_streams,
    recorded_name,
    Stream,
)

SENSORS = (IMAGE, COMPRESSED)
# How often /clock is sent at the least: a control tick must not see the same time twice.
CLOCK_PERIOD_S = 0.002
# Publishers wait this long for the first listener, and are heard this long after the last message.
MEET_TIMEOUT_S = 5.0
LINGER_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """
    How to play a bag.

    rate: speed. start_s: what is skipped. clock: publish /clock. restamp: move header stamps to
    the present. topics: only these; everything: those that the policy publishes too, else what its
    embodiment hears.
    """

    rate: float = 1.0
    start_s: float = 0.0
    loop: bool = False
    clock: bool = False
    restamp: bool = True
    topics: tuple[str, ...] = ()
    everything: bool = False
    embodiment: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 0 < self.rate < math.inf or not 0 <= self.start_s < math.inf:
            raise ConfigError(f'cannot play at rate {self.rate} from {self.start_s} s on')
        if self.clock and self.restamp:
            raise ConfigError('--clock is for stamps as they were: give --keep-stamps too')


class Player(Node):
    """Publishes what it is told to, when it is told to."""

    def __init__(self, bag: Bag, names: Sequence[str], live: Live, offset_ns: int) -> None:
        """Advertise the topics."""
        super().__init__('xvla_replay')
        self._bag, self._live, self._offset_ns = bag, live, offset_ns
        self._kinds = {name: bag.topics[name].kind for name in names}
        self._headed = {name for name, kind in self._kinds.items() if begins_with_header(kind)}
        self._senders = {name: self._advertise(name) for name in names}
        self._clock_sender = self.create_publisher(Clock, '/clock', 1) if live.clock else None

    def _advertise(self, name: str) -> Publisher:
        kind = self._kinds[name]
        latched = kind.endswith('/String') or kind.endswith('/PolicyStatus')
        qos = QoSProfile(
            depth=10,
            reliability=ReliabilityPolicy.BEST_EFFORT
            if kind in SENSORS
            else ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        return self.create_publisher(message_class(kind), name, qos)

    @property
    def heard(self) -> bool:
        """Whether somebody listens to every topic."""
        return all(sender.get_subscription_count() for sender in self._senders.values())

    def play(self, stop: threading.Event) -> int:
        """Publish the bag once, at its own pace; return how many messages."""
        start_ns = self._bag.start_ns + round(self._live.start_s * NANOSECONDS)
        wall_ns = self.get_clock().now().nanoseconds  # first: no stamp is ahead of its time
        begun_s, count = time.monotonic(), 0
        for raw in self._bag.messages(self._senders):
            if raw.time_ns < start_ns and not self._latched_before(raw):
                continue
            since_ns = max(raw.time_ns - start_ns, 0)
            if self._wait(begun_s, since_ns, stop):
                return count
            shift_ns = wall_ns - (start_ns - self._offset_ns)
            self._publish(raw, round(shift_ns + since_ns * (1 / self._live.rate - 1)))
            count += 1
        return count

    def _latched_before(self, raw: Raw) -> bool:
        """Tell whether a message from before the start is still valid at the start."""
        return raw.topic not in self._headed

    def _wait(self, begun_s: float, since_ns: int, stop: threading.Event) -> bool:
        """Sleep until a message is due, sending the clock; return whether to stop."""
        start_ns = self._bag.start_ns + round(self._live.start_s * NANOSECONDS) - self._offset_ns
        due_s = begun_s + since_ns / NANOSECONDS / self._live.rate
        while True:
            now_s = time.monotonic()
            if self._clock_sender:
                passed_ns = min(round((now_s - begun_s) * self._live.rate * NANOSECONDS), since_ns)
                self._clock_sender.publish(Clock(clock=ns_to_stamp(start_ns + passed_ns)))
            if now_s >= due_s:
                return stop.is_set()
            left_s = due_s - now_s
            if stop.wait(min(left_s, CLOCK_PERIOD_S) if self._clock_sender else left_s):
                return True

    def _publish(self, raw: Raw, shift_ns: int) -> None:
        data = raw.data
        if self._live.restamp and raw.topic in self._headed:
            data = moved_stamp(data, header_stamp_ns(data) + shift_ns)
        self._senders[raw.topic].publish(bytes(data))


def replay_live(path: Path, live: Live) -> int:
    """
    Play a bag until its end, or for ever with `loop`; return the exit code.

    :raises ConfigError: the embodiment or a topic is not known, or the bag ends before the start.
    """
    bag = open_bag(path)
    if live.start_s > bag.duration_s:
        raise ConfigError(
            f'{path}: is {bag.duration_s:.1f} s long: cannot start {live.start_s:g} s into it'
        )
    names, streams = topics_to_play(bag, live)
    headed = [name for name in names if begins_with_header(bag.topics[name].kind)]
    offset_ns = clock_offset_ns(bag, headed)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Player(bag, names, live, offset_ns)
    try:
        for line in _announcement(bag, names, streams):
            node.get_logger().info(line)
        _meet(node, stop)
        for count in _rounds(node, live, stop):
            node.get_logger().info(f'{count} messages played')
        stop.wait(LINGER_S)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _rounds(node: Player, live: Live, stop: threading.Event) -> Iterator[int]:
    yield node.play(stop)
    while live.loop and not stop.is_set():
        yield node.play(stop)


def _meet(node: Player, stop: threading.Event) -> None:
    """Wait for listeners, as long as that is worth waiting for."""
    deadline = time.monotonic() + MEET_TIMEOUT_S
    while not node.heard and time.monotonic() < deadline and not stop.wait(0.02):
        pass


def topics_to_play(bag: Bag, live: Live) -> tuple[list[str], tuple[Stream, ...]]:
    """
    Return the bag's topics to publish, and the streams that the bag lacks.

    :raises ConfigError: a topic that was asked for is not in the bag, or no robot is known.
    """
    if live.topics:
        unknown = [topic for topic in live.topics if recorded_name(topic, bag.topics) is None]
        if unknown:
            held = ', '.join(sorted(bag.topics))
            raise ConfigError(f'{bag.path}: no topic {", ".join(unknown)}; it has {held}')
        return [recorded_name(topic, bag.topics) or topic for topic in live.topics], ()
    if live.everything:
        return list(bag.topics), ()
    embodiment = _embodiment(bag, live)
    streams = (*observation_streams(embodiment), *description_streams(embodiment))
    names = {stream: recorded_name(stream.topic, bag.topics) for stream in streams}
    found = [name for name in names.values() if name]
    if not found:
        raise ConfigError(f'{bag.path}: holds no topic of the embodiment; --all plays all it has')
    return found, tuple(stream for stream, name in names.items() if name is None)


def _embodiment(bag: Bag, live: Live) -> Embodiment:
    if live.embodiment:
        return load_embodiment(live.embodiment)
    if bag.recording is None:
        raise ConfigError(
            f'{bag.path}: not from `xvla record`: give --embodiment, --topics or --all'
        )
    return bag.recording.load_embodiment(str(bag.path), {})


def _announcement(bag: Bag, names: Sequence[str], missing: Sequence[Stream]) -> Iterator[str]:
    yield f'playing {bag.duration_s:.1f} s: {", ".join(names)}'
    for stream in missing:
        yield f"missing {stream.role}: no topic '{stream.topic}'"
    yield from bag.gaps
