# SPDX-License-Identifier: Apache-2.0
"""
Writes a rosbag2 of MCAP files that other programs can open and that survive a killed recorder.

Files are chunked and end with an index and a summary. A chunk is passed to the kernel when it has
512 kB or half a second, so `kill -9` loses at most that and the index, which this package's reader
does not need. Each file begins with the latched messages, so that it can be read alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mcap.writer import CompressionType, Writer
import yaml

from xvla_ros.bags.formats.mcap_file import REPEATED
from xvla_ros.bags.message_types import definition
from xvla_ros.bags.metadata import bag_metadata, Channel, WrittenFile
from xvla_ros.bags.qos import Latched
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ConfigError

__all__ = ['BagWriter', 'Bounds', 'Channel']

# One file has 1/8 of the allowed bytes, so that deleting the oldest file frees that much.
SPLIT_SHARE = 8
SMALLEST_SPLIT = 2**16
# A chunk is written when it reaches this size or spans this time.
CHUNK_BYTES = 2**19
CHUNK_NS = NANOSECONDS // 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """
    Limits of a recording; 0: no limit.

    max_bytes: size of all files; the oldest are deleted. split_bytes, split_s: size and length of
    one file.
    """

    max_bytes: int = 0
    split_bytes: int = 0
    split_s: float = 0.0

    def __post_init__(self) -> None:
        """Limit one file to a fraction of all bytes."""
        if self.max_bytes < 0 or self.split_bytes < 0 or self.split_s < 0:
            raise ConfigError('the bounds of a recording must not be negative')
        share = max(self.max_bytes // SPLIT_SHARE, SMALLEST_SPLIT) if self.max_bytes else 0
        if share and not 0 < self.split_bytes <= share:
            object.__setattr__(self, 'split_bytes', share)


def check_empty(folder: Path) -> None:
    """
    Check that a folder can become a bag.

    :raises ConfigError: it is not empty, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f'{folder}: not empty; a recording needs a folder of its own')


class BagWriter:
    """A bag folder that is being written by one thread; leaving the context completes it."""

    def __init__(self, folder: Path, channels: dict[str, Channel], bounds: Bounds) -> None:
        """
        Make the folder.

        :param channels: by absolute topic name.
        :raises ConfigError: the folder is not empty, or a type is unknown.
        """
        for channel in channels.values():
            definition(channel.kind)
        channels = dict(channels)
        check_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._channels, self._bounds = folder, channels, bounds
        self._files: list[WrittenFile] = []
        self._latest: Latched[bytes] = Latched()
        self._number = 0
        self._chunk_ns, self._due_bytes = 0, CHUNK_BYTES
        self._stream: BinaryIO | None = None

    def __enter__(self) -> 'BagWriter':
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Complete the bag."""
        self.close()

    def add(self, topic: str, channel: Channel) -> None:
        """
        Add a topic by its absolute name; a known topic keeps its channel.

        Its QoS must not change, because readers compare metadata.yaml with the files.

        :raises ConfigError: its type is unknown.
        """
        definition(channel.kind)
        self._channels.setdefault(topic, channel)

    def knows(self, topic: str) -> bool:
        """Tell whether messages of a topic can be written."""
        return topic in self._channels

    def flush(self) -> None:
        """Pass everything to the kernel, so that a kill does not lose it."""
        if self._stream is not None:
            self._writer.flush()  # type: ignore[no-untyped-call]
            self._files[-1].bytes = self._stream.tell()

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        """Append one message, in a new file if the last one is full."""
        if self._stream is None or self._full(time_ns):
            self._next_file(time_ns)
        if self._channels[topic].latched:
            self._latest.keep(topic, data)
        self._append(topic, time_ns, data)

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self._files)

    @property
    def messages(self) -> int:
        """Number of messages in the files."""
        return sum(sum(file.counts.values()) for file in self._files)

    def close(self) -> None:
        """Complete the last file and the metadata; may be called more than once."""
        self._finish_file()
        if self._files:
            self._write_metadata()

    def _full(self, time_ns: int) -> bool:
        file, bounds = self._files[-1], self._bounds
        if 0 < bounds.split_bytes <= file.bytes:
            return True
        age_ns = time_ns - (file.start_ns or time_ns)
        return 0 < bounds.split_s * NANOSECONDS <= age_ns

    def _append(self, topic: str, time_ns: int, data: bytes, sequence: int = 0) -> None:
        file = self._files[-1]
        self._writer.add_message(self._id(topic), time_ns, data, time_ns, sequence)
        file.counts[topic] = file.counts.get(topic, 0) + 1
        file.start_ns = time_ns if file.start_ns is None else min(file.start_ns, time_ns)
        file.end_ns = max(file.end_ns, time_ns)
        file.bytes += len(data)
        self._chunk_ns = self._chunk_ns or time_ns
        if not 0 <= time_ns - self._chunk_ns < CHUNK_NS or file.bytes > self._due_bytes:
            self.flush()
            self._chunk_ns, self._due_bytes = 0, file.bytes + CHUNK_BYTES

    def _next_file(self, time_ns: int) -> None:
        """Make room, and begin a file with all topics and latched messages."""
        self._finish_file()
        while self._bounds.max_bytes and len(self._files) > 1 and self._crowded():
            self._files.pop(0).path.unlink()
        path = self.folder / f'{self.folder.name}_{self._number}.mcap'
        self._number += 1
        self._stream = path.open('xb')
        self._files.append(WrittenFile(path=path))
        self._writer = Writer(
            self._stream, chunk_size=CHUNK_BYTES, compression=CompressionType.NONE
        )
        self._writer.start(profile='ros2', library='xvla_ros')
        self._schemas: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._chunk_ns, self._due_bytes = 0, CHUNK_BYTES
        for topic in self._channels:
            self._id(topic)
        for topic, data in self._latest.items():
            self._append(topic, time_ns, data, REPEATED)
        self._write_metadata()

    def _crowded(self) -> bool:
        return self.total_bytes + self._bounds.split_bytes > self._bounds.max_bytes

    def _id(self, topic: str) -> int:
        """Return the id of a topic in the file; register it first if it is new."""
        if topic not in self._ids:
            channel = self._channels[topic]
            metadata = {'offered_qos_profiles': channel.profiles()}
            schema = self._schema(channel.kind)
            self._ids[topic] = self._writer.register_channel(topic, 'cdr', schema, metadata)
        return self._ids[topic]

    def _schema(self, kind: str) -> int:
        if kind not in self._schemas:
            text = definition(kind).encode()
            self._schemas[kind] = self._writer.register_schema(kind, 'ros2msg', text)
        return self._schemas[kind]

    def _finish_file(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._files[-1].bytes = stream.tell()
            stream.close()

    def _write_metadata(self) -> None:
        """Write the current metadata.yaml atomically."""
        text = yaml.safe_dump(bag_metadata(self._files, self._channels), sort_keys=False)
        draft = self.folder / 'metadata.yaml.new'
        draft.write_text(text, encoding='utf-8')
        draft.replace(self.folder / 'metadata.yaml')
