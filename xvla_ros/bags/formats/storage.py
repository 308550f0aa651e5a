# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the file formats: messages, their places, and zstd."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import shutil
import tempfile
from typing import BinaryIO, Protocol

import zstandard

from xvla_ros.core.errors import ObservationError

# The largest record or message that is read [bytes], far above any camera message.
LARGEST_RECORD = 256 * 2**20
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
# The place of a message in its file: two numbers for the file's reader.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Raw:
    """
    One recorded message.

    time_ns: time of receipt by the recorder. definition: the text of its type's definition, if the
    file has one. repeated: a copy of a latched message in the previous file.
    """

    topic: str
    kind: str
    time_ns: int
    data: bytes
    definition: str = ''
    repeated: bool = False
    place: Place = (0, 0)


class Storage(Protocol):
    """
    One file of a bag.

    offered: QoS profiles by topic, as rosbag2's YAML text. foreign: encoding by topic, for topics
    that are left out because they are not CDR. Both are complete after a scan.
    """

    path: Path
    offered: dict[str, str]
    foreign: dict[str, str]

    def scan(self, gaps: list[str]) -> Iterator[Raw]:
        """
        Yield all messages in the order of the file; add a sentence to `gaps` for each damage.

        :raises ObservationError: it is no file of this kind, or a message in it is too large.
        """

    def pick(self, places: Iterable[Place]) -> Iterator[Raw]:
        """Yield the messages at some places of a file that has been scanned."""


def check_size(size: int, path: Path, what: str = 'record') -> None:
    """
    Refuse data that are too large, before they are read.

    :raises ObservationError: `size` [bytes] is above the limit.
    """
    if size > LARGEST_RECORD:
        raise ObservationError(
            f'{path}: holds a {what} of {size / 2**20:.0f} MB; the limit is '
            f'{LARGEST_RECORD // 2**20} MB'
        )


def decompressing(file: BinaryIO) -> BinaryIO:
    """Return a stream of a zstd file's content, over all frames."""
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


def decompressed(data: bytes, path: Path) -> bytes:
    """
    Return the content of zstd frames.

    :raises ObservationError: it would be too large.
    :raises zstandard.ZstdError: they are damaged.
    """
    parts, size = [], 0
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        check_size(max(zstandard.frame_content_size(data), 0), path, 'compressed message')
        parts.append(frame.decompress(data))
        size += len(parts[-1])
        check_size(size, path, 'compressed message')
        if not frame.eof:
            raise zstandard.ZstdError('ends within a frame')
        data = frame.unused_data
    return b''.join(parts)


@contextmanager
def unpacked(path: Path, gaps: list[str]) -> Iterator[Path]:
    """
    Provide a temporary uncompressed copy of a zstd file, or the file itself if not compressed.

    :param gaps: gets a sentence if the file ends early; the copy has the part before that.
    :raises ObservationError: the disk has no room for the copy.
    """
    if path.suffix != '.zstd':
        yield path
        return
    with tempfile.TemporaryDirectory(prefix='xvla_bag_') as folder:
        copy = Path(folder) / path.stem
        try:
            with path.open('rb') as packed, copy.open('wb') as file:
                shutil.copyfileobj(decompressing(packed), file, 2**20)
        except zstandard.ZstdError as error:
            gaps.append(f'{path.name}: cannot be decompressed to its end: {error}')
        except OSError as error:
            raise ObservationError(
                f'{path}: must be decompressed into {folder} to be read in order: {error}; '
                f'decompress it yourself: zstd -d {path.name}'
            ) from error
        yield copy
