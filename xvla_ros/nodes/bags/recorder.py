# SPDX-License-Identifier: Apache-2.0
"""The recorder: writes the serialised messages of the wanted topics into bags."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
import re
import shutil

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from xvla_ros.bags.audit import Audit
from xvla_ros.bags.images import compressed_image
from xvla_ros.bags.manifest import Recording, recording_message, RECORDING_TOPIC
from xvla_ros.bags.qos import Latched, Offer, profiles_text
from xvla_ros.bags.topics import COMPRESSED, IMAGE, Stream, STRING, SUFFIX
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
from xvla_ros.core.errors import ConfigError
from xvla_ros.nodes.common.clock import NodeClock, steady_clock, time_parameters
from xvla_ros.nodes.common.polled import message_class

# Length of a subscription's queue while the disk is busy: half a second of a 100 Hz topic.
DEPTH = 50
# Most latched messages of one topic, such as /tf_static of many publishers.
LATCHED_DEPTH = 100
# The recorder looks for new topics, flushes its messages and checks the free space this often.
LOOK_PERIOD_S, FLUSH_PERIOD_S, DISK_PERIOD_S = 0.1, 0.5, 2.0
# It stops when the disk has less free space than this.
LEAST_FREE_BYTES = 500 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """
    What to record: the robot's streams, and topics whose whole names match patterns.

    exclude has priority over both. images: 'jpeg', 'png' or 'raw', the format for raw images.
    """

    streams: tuple[Stream, ...]
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    images: str = 'jpeg'
    bounds: Bounds = field(default_factory=Bounds)

    def excluded(self, name: str) -> bool:
        """Tell whether a topic is left out."""
        return any(pattern.fullmatch(name) for pattern in self.exclude)

    def included(self, name: str) -> bool:
        """Tell whether a topic is recorded because of its name."""
        return any(pattern.fullmatch(name) for pattern in self.include)


class Recorder(Node):
    """Writes messages while a bag is open; one executor thread serves it."""

    def __init__(self, wanted: Wanted, sim_time: bool = False) -> None:
        """
        Subscribe without a bag. In a simulation, messages get the times of /clock.

        :raises ConfigError: a requested message type is not installed.
        """
        super().__init__('xvla_record', parameter_overrides=time_parameters(sim_time))
        self.now_ns = NodeClock(self).now_ns
        self.trouble = ''
        self.writer: BagWriter | None = None
        self.audit = Audit()
        self._wanted = wanted
        self._streams = {self.resolve_topic_name(s.topic): s for s in wanted.streams}
        for stream in wanted.streams:
            message_class(stream.kind)
        self._channels: dict[str, Channel] = {}
        self._latched: Latched[bytes] = Latched()
        self._offers: dict[str, list[Offer]] = {}
        self._subscribed: dict[str, object] = {}
        self._given_up: set[str] = set()
        for period_s, look in (
            (LOOK_PERIOD_S, self.look_for_topics),
            (FLUSH_PERIOD_S, self._flush),
            (DISK_PERIOD_S, self._watch_disk),
        ):
            self.create_timer(period_s, look, clock=steady_clock())

    def open(self, folder: Path, recording: Recording) -> None:
        """
        Begin a bag with the description of the recording and the latched messages.

        :raises ConfigError: the folder is not empty.
        """
        channels = {RECORDING_TOPIC: Channel(kind=STRING, latched=True), **self._channels}
        self.writer = BagWriter(folder, channels, self._wanted.bounds)
        wanted = {
            name: stream.role
            for name, stream in self._streams.items()
            if not self._wanted.excluded(name) and not stream.latched
        }
        self.audit = Audit(
            wanted={self._written_name(name): role for name, role in wanted.items()}
        )
        now_ns = self.now_ns()
        self.writer.write(RECORDING_TOPIC, now_ns, recording_message(recording))
        for topic, data in self._latched.items():
            self._write(topic, now_ns, data)
        self.writer.flush()

    def close(self) -> BagWriter | None:
        """Complete and return the bag, if one is open."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()
        return writer

    def look_for_topics(self) -> None:
        """Subscribe to wanted topics that have publishers, with the QoS that those offer."""
        for name, kinds in self.get_topic_names_and_types():
            stream = self._streams.get(name)
            wanted = stream is not None or self._wanted.included(name)
            if not wanted or self._wanted.excluded(name) or name in self._given_up:
                continue
            publishers = self.get_publishers_info_by_topic(name)
            others = [p for p in publishers if p.node_name != self.get_name()]
            offers = [_offer(publisher.qos_profile) for publisher in others]
            if offers and offers != self._offers.get(name):
                kind = stream.kind if stream and stream.kind in kinds else kinds[0]
                self._follow(name, kind, offers)

    def _follow(self, name: str, kind: str, offers: list[Offer]) -> None:
        """Subscribe to a topic; repeat this when a new publisher offers a weaker QoS."""
        before, now = self._offers.get(name), _common(offers)
        self._offers[name] = offers
        try:
            written = self._written_name(name, kind)
            stored = COMPRESSED if written != name else kind
            self._add(written, Channel(
                kind=stored, latched=now.latched, offered=profiles_text(offers)
            ))  # fmt: skip
            kind_class = message_class(kind)
        except ConfigError as error:
            self._given_up.add(name)
            self.get_logger().warning(f'{name} is not recorded: {error}')
            return
        if before is not None and _common(before) == now:
            return
        if name in self._subscribed:
            self.destroy_subscription(self._subscribed[name])
        qos = QoSProfile(
            depth=LATCHED_DEPTH if now.latched else DEPTH,
            reliability=ReliabilityPolicy.RELIABLE
            if now.reliable
            else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if now.latched
            else DurabilityPolicy.VOLATILE,
        )
        store = self._storing(name, written)
        self._subscribed[name] = self.create_subscription(kind_class, name, store, qos, raw=True)

    def _written_name(self, name: str, kind: str = '') -> str:
        """Return the topic's name in the bag, which differs for compressed raw images."""
        stream = self._streams.get(name)
        is_image = (kind or (stream.kind if stream else '')) == IMAGE
        taken = name + SUFFIX in self._streams or self._wanted.included(name + SUFFIX)
        return name + SUFFIX if is_image and self._wanted.images != 'raw' and not taken else name

    def _add(self, topic: str, channel: Channel) -> None:
        if self.writer is not None:
            self.writer.add(topic, channel)
        self._channels[topic] = channel

    def _storing(self, name: str, written: str) -> Callable[[bytes], None]:
        def store(data: bytes) -> None:
            if written == name:
                self._keep(name, data)
                return
            if self.writer is None:
                return
            packed = compressed_image(data, self._wanted.images)
            if packed is not None:
                self._keep(written, packed)
                return
            if name not in self._channels:  # depth, Bayer, YUV: stored unchanged
                self._add(name, replace(self._channels[written], kind=IMAGE))
            self._keep(name, data)

        return store

    def _keep(self, topic: str, data: bytes) -> None:
        if self._channels[topic].latched:
            self._latched.keep(topic, data)
        if self.writer is not None and self.now_ns():
            self._write(topic, self.now_ns(), data)

    def _write(self, topic: str, time_ns: int, data: bytes) -> None:
        try:
            self.writer.write(topic, time_ns, data)
            self.audit.see(topic, time_ns, len(data))
        except OSError as error:
            self.trouble = f'{self.writer.folder}: cannot write: {error}'

    def _flush(self) -> None:
        try:
            if self.writer is not None:
                self.writer.flush()
        except OSError as error:
            self.trouble = f'{self.writer.folder}: cannot write: {error}'

    def _watch_disk(self) -> None:
        if self.writer is None:
            return
        free = shutil.disk_usage(self.writer.folder).free
        if free < LEAST_FREE_BYTES:
            self.trouble = f'{self.writer.folder}: only {free / 2**20:.0f} MB left on the disk'


def _offer(qos: QoSProfile) -> Offer:
    return Offer(
        reliable=qos.reliability == ReliabilityPolicy.RELIABLE,
        latched=qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        depth=qos.depth,
    )


def _common(offers: Sequence[Offer]) -> Offer:
    """Return the QoS that all publishers offer. More would lose the messages of some."""
    return Offer(
        reliable=all(offer.reliable for offer in offers),
        latched=all(offer.latched for offer in offers),
    )
