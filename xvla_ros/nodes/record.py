# SPDX-License-Identifier: Apache-2.0
"""The recorder: every message of an embodiment's topics, as it came over the wire, into a bag."""

from collections.abc import Callable
from importlib import import_module
import shutil

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.replay.recording import Recording, recording_message, RECORDING_TOPIC
from xvla_ros.replay.topics import Stream, STRING
from xvla_ros.replay.writer import BagWriter, Channel

# Messages kept for us while the disk is busy: half a second of a 100 Hz topic.
DEPTH = 50
# The recorder looks after the disk this often, and stops while so much is still free on it.
DISK_PERIOD_S = 2.0
LEAST_FREE_BYTES = 500 * 2**20


class Recorder(Node):
    """Writes what it hears; one executor thread serves it."""

    def __init__(self, **options: object) -> None:
        """Be there without a bag."""
        super().__init__('xvla_record', **options)
        self._writer: BagWriter | None = None
        self.trouble = ''

    def channels(self, streams: tuple[Stream, ...]) -> dict[str, Channel]:
        """Return the bag's channels by the names that the topics have in this node's namespace."""
        channels = {RECORDING_TOPIC: Channel(kind=STRING, latched=True)}
        for stream in streams:
            channels[self.resolve_topic_name(stream.topic)] = Channel(
                kind=stream.kind, latched=stream.latched, sensor=stream.sensor
            )
        return channels

    def begin(self, writer: BagWriter, streams: tuple[Stream, ...], recording: Recording) -> None:
        """Write what the recording is, then whatever comes."""
        self._writer = writer
        writer.write(RECORDING_TOPIC, self._now_ns(), recording_message(recording))
        for stream in streams:
            self._subscribe(stream)
        self.create_timer(DISK_PERIOD_S, self._watch_disk)

    def _subscribe(self, stream: Stream) -> None:
        qos = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.BEST_EFFORT
            if stream.sensor
            else ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if stream.latched
            else DurabilityPolicy.VOLATILE,
        )
        kind, topic = message_class(stream.kind), self.resolve_topic_name(stream.topic)
        self.create_subscription(kind, stream.topic, self._storing(topic), qos, raw=True)

    def _storing(self, topic: str) -> Callable[[bytes], None]:
        def store(data: bytes) -> None:
            try:
                self._writer.write(topic, self._now_ns(), data)
            except OSError as error:
                self.trouble = f'{self._writer.folder}: cannot write: {error}'

        return store

    def _watch_disk(self) -> None:
        free = shutil.disk_usage(self._writer.folder).free
        if free < LEAST_FREE_BYTES:
            self.trouble = f'{self._writer.folder}: only {free / 2**20:.0f} MB left on the disk'

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def message_class(kind: str) -> type:
    """
    Return the Python class of a message type such as sensor_msgs/msg/Image.

    :raises ConfigError: its package is not installed.
    """
    package, _, name = kind.replace('/', '.').rpartition('.')
    try:
        return getattr(import_module(package), name)
    except (ImportError, AttributeError) as error:
        apt = kind.split('/')[0].replace('_', '-')
        raise ConfigError(
            f"message type '{kind}' is not installed: apt install ros-jazzy-{apt}"
        ) from error


def record(
    streams: tuple[Stream, ...],
    recording: Recording,
    make_writer: Callable[[dict[str, Channel]], BagWriter],
    ended: Callable[[], bool],
    progress: Callable[[BagWriter], None],
) -> BagWriter:
    """
    Record until `ended`; return the completed bag.

    :param progress: called between messages, to show how far it is.
    :raises XvlaError: the disk is full, or a message type is not installed.
    """
    node = Recorder()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with make_writer(node.channels(streams)) as writer:
            node.begin(writer, streams, recording)
            while not ended() and rclpy.ok():
                executor.spin_once(timeout_sec=0.1)
                progress(writer)
                if node.trouble:
                    raise XvlaError(node.trouble)
        return writer
    finally:
        executor.shutdown()
        node.destroy_node()
