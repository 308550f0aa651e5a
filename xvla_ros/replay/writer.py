# SPDX-License-Identifier: Apache-2.0
"""
Write a rosbag2 of MCAP files that a killed recorder leaves readable.

Every record goes to the kernel at once and whole: after `kill -9` all that is missing
is the index, which readers do without. Each file begins with the latched messages, so that any of
them can be read alone.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mcap.writer import Writer
import yaml

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ConfigError
from xvla_ros.replay.mcap_file import REPEATED
from xvla_ros.replay.message_types import definition, type_hash

# Of the bytes that a recording may take, the share of one file: what is dropped at once.
SPLIT_SHARE = 8
SMALLEST_SPLIT = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One recorded topic."""

    kind: str
    latched: bool = False
    sensor: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """
    How much may be written; 0 is without bound.

    max_bytes: of all files together; the oldest are deleted. split_bytes, split_s: of one file.
    """

    max_bytes: int = 0
    split_bytes: int = 0
    split_s: float = 0.0

    def __post_init__(self) -> None:
        """Let one file be a fraction of all."""
        if self.max_bytes < 0 or self.split_bytes < 0 or self.split_s < 0:
            raise ConfigError('the bounds of a recording must not be negative')
        share = max(self.max_bytes // SPLIT_SHARE, SMALLEST_SPLIT) if self.max_bytes else 0
        if share and not 0 < self.split_bytes <= share:
            object.__setattr__(self, 'split_bytes', share)


@dataclass(kw_only=True, slots=True)
class _File:
    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    start_ns: int | None = None
    end_ns: int = 0
    bytes: int = 0

    def information(self) -> dict[str, object]:
        start_ns = self.start_ns or 0
        return {
            'path': self.path.name,
            'starting_time': {'nanoseconds_since_epoch': start_ns},
            'duration': {'nanoseconds': max(self.end_ns - start_ns, 0)},
            'message_count': sum(self.counts.values()),
        }


class BagWriter:
    """A bag folder while it is being written; a context that completes it. One thread writes."""

    def __init__(self, folder: Path, channels: dict[str, Channel], bounds: Bounds) -> None:
        """
        Make the folder.

        :param channels: by absolute topic name.
        :raises ConfigError: the folder exists with something in it, or a type is unknown.
        """
        for channel in channels.values():
            definition(channel.kind)
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f'{folder}: not empty; a recording needs a folder of its own')
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._channels, self._bounds = folder, channels, bounds
        self._files: list[_File] = []
        self._latest: dict[str, bytes] = {}
        self._number = 0
        self._stream: BinaryIO | None = None

    def __enter__(self) -> 'BagWriter':
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the bag."""
        self.close()

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        """Append one message, in a new file where the last is full."""
        if self._stream is None or self._full(time_ns):
            self._next_file(time_ns)
        if self._channels[topic].latched:
            self._latest[topic] = data
        self._append(topic, time_ns, data)

    @property
    def bytes(self) -> int:
        """Size of all files there are."""
        return sum(file.bytes for file in self._files)

    @property
    def messages(self) -> int:
        """How many messages the files hold."""
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
        self._writer.add_message(self._ids[topic], time_ns, data, time_ns, sequence)
        self._stream.flush()
        file.counts[topic] = file.counts.get(topic, 0) + 1
        file.start_ns = time_ns if file.start_ns is None else min(file.start_ns, time_ns)
        file.end_ns = max(file.end_ns, time_ns)
        file.bytes = self._stream.tell()

    def _next_file(self, time_ns: int) -> None:
        """Begin a file, with its topics and what is latched; make room for it first."""
        self._finish_file()
        while self._bounds.max_bytes and len(self._files) > 1 and self._crowded():
            self._files.pop(0).path.unlink()
        path = self.folder / f'{self.folder.name}_{self._number}.mcap'
        self._number += 1
        self._stream = path.open('xb')
        self._files.append(_File(path=path))
        self._writer = Writer(self._stream, use_chunking=False)
        self._writer.start(profile='ros2', library='xvla_ros')
        self._register()
        for topic, data in self._latest.items():
            self._append(topic, time_ns, data, REPEATED)
        self._write_metadata()

    def _crowded(self) -> bool:
        return self.bytes + self._bounds.split_bytes > self._bounds.max_bytes

    def _register(self) -> None:
        schemas: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        for topic, channel in self._channels.items():
            if channel.kind not in schemas:
                text = definition(channel.kind).encode()
                schemas[channel.kind] = self._writer.register_schema(channel.kind, 'ros2msg', text)
            qos = yaml.safe_dump([_qos(channel)], sort_keys=False)
            self._ids[topic] = self._writer.register_channel(
                topic, 'cdr', schemas[channel.kind], {'offered_qos_profiles': qos}
            )

    def _finish_file(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._writer.finish()
            self._files[-1].bytes = stream.tell()
            stream.close()

    def _write_metadata(self) -> None:
        """Write metadata.yaml, as of now, in one step."""
        text = yaml.safe_dump(_metadata(self._files, self._channels), sort_keys=False)
        draft = self.folder / 'metadata.yaml.new'
        draft.write_text(text, encoding='utf-8')
        draft.replace(self.folder / 'metadata.yaml')


def _qos(channel: Channel) -> dict[str, object]:
    """Return the profile to publish a topic with when the bag is played."""
    never = {'sec': 9223372036, 'nsec': 854775807}
    return {
        'history': 'keep_last', 'depth': 5 if channel.sensor else 10,
        'reliability': 'best_effort' if channel.sensor else 'reliable',
        'durability': 'transient_local' if channel.latched else 'volatile',
        'deadline': never, 'lifespan': never, 'liveliness': 'automatic',
        'liveliness_lease_duration': never, 'avoid_ros_namespace_conventions': False,
    }  # fmt: skip


def _metadata(files: list[_File], channels: dict[str, Channel]) -> dict[str, object]:
    """Return rosbag2's description of a bag, version 9 (Jazzy)."""
    starts = [file.start_ns for file in files if file.start_ns is not None]
    start_ns, end_ns = min(starts, default=0), max((file.end_ns for file in files), default=0)
    topics = [
        {
            'topic_metadata': {
                'name': topic,
                'type': channel.kind,
                'serialization_format': 'cdr',
                'offered_qos_profiles': [_qos(channel)],
                'type_description_hash': type_hash(channel.kind),
            },
            'message_count': sum(file.counts.get(topic, 0) for file in files),
        }
        for topic, channel in channels.items()
    ]
    return {
        'rosbag2_bagfile_information': {
            'version': 9,
            'storage_identifier': 'mcap',
            'duration': {'nanoseconds': max(end_ns - start_ns, 0)},
            'starting_time': {'nanoseconds_since_epoch': start_ns},
            'message_count': sum(sum(file.counts.values()) for file in files),
            'topics_with_message_count': topics,
            'compression_format': '',
            'compression_mode': '',
            'relative_file_paths': [file.path.name for file in files],
            'files': [file.information() for file in files],
            'custom_data': None,
            'ros_distro': 'jazzy',
        }
    }
