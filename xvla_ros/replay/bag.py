# SPDX-License-Identifier: Apache-2.0
"""A bag of any origin as one stream of messages in time order."""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
import heapq
from itertools import count
from pathlib import Path
import re

import zstandard

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ObservationError
from xvla_ros.replay.mcap_file import DamagedFileError, LARGEST_RECORD, Raw, read_mcap
from xvla_ros.replay.message_types import learn
from xvla_ros.replay.recording import read_recording, Recording, RECORDING_TOPIC
from xvla_ros.replay.sqlite_file import read_sqlite

READERS: dict[str, Callable[[Path], Iterator[Raw]]] = {'.mcap': read_mcap, '.db3': read_sqlite}
# Recorders write messages about in order: one is out of order by at most this, and the wait for
# it holds at most so many bytes.
REORDER_NS = NANOSECONDS // 2
REORDER_BYTES = 64 * 2**20
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


@dataclass(kw_only=True, slots=True)
class Topic:
    """What a bag holds of one topic."""

    kind: str
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0

    @property
    def rate_hz(self) -> float:
        """Mean rate [Hz]; 0 for fewer than two messages."""
        span_ns = self.last_ns - self.first_ns
        return (self.count - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0


@dataclass(kw_only=True)
class Bag:
    """
    One bag, looked through once: what it holds, and what could not be read of it.

    gaps: one sentence per file that ends early or is damaged. recording: what `xvla record` said
    of the run, None in bags from elsewhere.
    """

    path: Path
    files: tuple[Path, ...]
    topics: dict[str, Topic] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    recording: Recording | None = None
    start_ns: int = 0
    end_ns: int = 0

    @property
    def duration_s(self) -> float:
        """Time between the first and the last message [s]."""
        return (self.end_ns - self.start_ns) / NANOSECONDS

    def messages(self, topics: Container[str] | None = None) -> Iterator[Raw]:
        """Yield the messages in time order, of some topics or of all; damage ends a file early."""
        return _in_order(_selected(self.files, topics, []))


def open_bag(path: str | Path) -> Bag:
    """
    Look through a bag: a rosbag2 folder, with or without its metadata, or one of its files.

    :raises ObservationError: there is no bag, or no message can be read from it.
    """
    path = Path(path)
    bag = Bag(path=path, files=_files(path))
    for raw in _selected(bag.files, None, bag.gaps):
        _count(bag, raw)
    if not bag.topics:
        why = f': {bag.gaps[0]}' if bag.gaps else ''
        raise ObservationError(f'{path}: the bag holds no message{why}')
    bag.start_ns = min(topic.first_ns for topic in bag.topics.values())
    bag.end_ns = max(topic.last_ns for topic in bag.topics.values())
    return bag


def _files(path: Path) -> tuple[Path, ...]:
    """Return the storage files in the order of their numbers."""
    if not path.exists():
        raise ObservationError(f'{path}: no such bag')
    if path.suffix == '.bag':
        raise ObservationError(f'{path}: a ROS 1 bag; rosbags-convert makes a rosbag2 of it')
    found = [path] if path.is_file() else sorted(path.iterdir(), key=_natural)
    files = tuple(file for file in found if _reader(file))
    if not files:
        known = ', '.join(READERS)
        raise ObservationError(f'{path}: not a bag: no file ending in {known} (or with .zstd)')
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r'(\D*)(\d*)', path.name)]


def _reader(file: Path) -> Callable[[Path], Iterator[Raw]] | None:
    return READERS.get(file.with_suffix('').suffix if file.suffix == '.zstd' else file.suffix)


def _selected(
    files: tuple[Path, ...], topics: Container[str] | None, gaps: list[str]
) -> Iterator[Raw]:
    """Yield the wanted messages of all files, unpacked; note in `gaps` which file ended early."""
    for file in files:
        if not file.stat().st_size:
            gaps.append(f'{file.name}: empty')
            continue
        reader = _reader(file)
        try:
            for raw in reader(file) if reader else ():
                if raw.repeated and file is not files[0]:
                    continue
                if topics is None or raw.topic in topics:
                    yield _unpacked(raw, file)
        except DamagedFileError as error:
            gaps.append(str(error))


def _unpacked(raw: Raw, file: Path) -> Raw:
    """Decompress a message that was compressed by itself: CDR never begins with zstd's magic."""
    if not raw.data.startswith(ZSTD_MAGIC):
        return raw
    size = zstandard.frame_content_size(raw.data)
    if size > LARGEST_RECORD:
        raise ObservationError(f'{file}: a compressed message would be {size / 2**20:.0f} MB')
    try:
        data = zstandard.ZstdDecompressor().decompress(raw.data, max_output_size=LARGEST_RECORD)
    except zstandard.ZstdError as error:
        raise DamagedFileError(
            f'{file.name}: a message cannot be decompressed: {error}'
        ) from error
    return Raw(raw.topic, raw.kind, raw.time_ns, data, raw.definition)


def _in_order(messages: Iterator[Raw]) -> Iterator[Raw]:
    """Sort messages that are nearly in order, in bounded memory."""
    waiting: list[tuple[int, int, Raw]] = []
    number, size, newest_ns = count(), 0, 0
    for raw in messages:
        heapq.heappush(waiting, (raw.time_ns, next(number), raw))
        size, newest_ns = size + len(raw.data), max(newest_ns, raw.time_ns)
        while waiting[0][0] < newest_ns - REORDER_NS or size > REORDER_BYTES:
            earliest = heapq.heappop(waiting)[2]
            size -= len(earliest.data)
            yield earliest
    while waiting:
        yield heapq.heappop(waiting)[2]


def _count(bag: Bag, raw: Raw) -> None:
    topic = bag.topics.get(raw.topic)
    if topic is None:
        topic = bag.topics[raw.topic] = Topic(kind=raw.kind, first_ns=raw.time_ns)
        learn(raw.kind, raw.definition)
    topic.count += 1
    topic.first_ns = min(topic.first_ns, raw.time_ns)
    topic.last_ns = max(topic.last_ns, raw.time_ns)
    if raw.topic == RECORDING_TOPIC and bag.recording is None:
        bag.recording = read_recording(raw.data)
