# SPDX-License-Identifier: Apache-2.0
"""What the files of a bag have in common: messages, where they lie, and zstd."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import shutil
import tempfile
from typing import BinaryIO, Protocol

import zstandard

from xvla_ros.core.errors import ObservationError

# The largest record or message that is read [bytes]; no camera message comes near it.
LARGEST_RECORD = 256 * 2**20
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
# Where a message lies in its file: two numbers that only the file's reader understands.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Raw:
    """
    One message as it was recorded.

    time_ns: when the recorder received it. definition: the text of its type's definition, where
    the file has one. repeated: a copy of a latched message that is also in the file before.
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

    offered: QoS profiles by topic, as rosbag2's YAML text. foreign: encoding by topic, of topics
    whose messages are not CDR and are left out. Both are complete after a scan.
    """

    path: Path
    offered: dict[str, str]
    foreign: dict[str, str]

    def scan(self, gaps: list[str]) -> Iterator[Raw]:
        """
        Yield all messages in the order of the file, and add a sentence to `gaps` per damage.

        :raises ObservationError: it is no file of this kind, or a message in it is too large.
        """

    def pick(self, places: Iterable[Place]) -> Iterator[Raw]:
        """Yield the messages at some places of a file that has been scanned."""


def check_size(size: int, path: Path, what: str = 'record') -> None:
    """
    Refuse what is too large before it is read.

    :raises ObservationError: `size` [bytes] is above the limit.
    """
    if size > LARGEST_RECORD:
        raise ObservationError(
            f'{path}: holds a {what} of {size / 2**20:.0f} MB; the limit is '
            f'{LARGEST_RECORD // 2**20} MB'
        )


def decompressing(file: BinaryIO) -> BinaryIO:
    """Return a stream of what a zstd file holds, in all of its frames."""
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


def decompressed(data: bytes, path: Path) -> bytes:
    """
    Return what zstd frames hold.

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
    Lend an uncompressed copy of a zstd file, or the file itself where it is not compressed.

    :param gaps: gets a sentence when the file ends early; what came before is in the copy.
    :raises ObservationError: there is no room for the copy.
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
