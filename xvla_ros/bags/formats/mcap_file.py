# SPDX-License-Identifier: Apache-2.0
"""
Reads MCAP files, also incomplete ones.

A recorder that was killed leaves no index and perhaps half a record, so a file is read from front
to back. An index, if there is one, is used to continue after damage.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
import struct
from typing import BinaryIO

from lz4.frame import LZ4FrameDecompressor
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Schema
from mcap.stream_reader import CRCValidationError, get_chunk_data_stream
import zstandard

from xvla_ros.bags.formats.storage import (
    check_size,
    decompressing,
    LARGEST_RECORD,
    Place,
    Raw,
    unpacked,
)
from xvla_ros.core.errors import ObservationError

MAGIC = b'\x89MCAP0\r\n'
# Sequence number of a latched message that this package's writer copied from the previous file.
REPEATED = 2**32 - 1
# Opcode and length of a record; channel, sequence, log time and publish time of a message.
RECORD_HEAD, MESSAGE_HEAD = struct.Struct('<BQ'), struct.Struct('<HIQQ')
# Start time, end time, uncompressed size, CRC and length of the compression's name in a chunk.
CHUNK_HEAD = struct.Struct('<QQQII')
DAMAGE = (
    EOFError, KeyError, IndexError, ValueError, McapError, CRCValidationError, zstandard.ZstdError,
    struct.error, RuntimeError, OverflowError, MemoryError,
)  # fmt: skip
# The largest time that rosbag2 can hold [ns]: its times are signed.
LATEST_NS = 2**63 - 1
# Size of the cache of decompressed chunks while messages are picked out of order [bytes].
CACHE_BYTES = 32 * 2**20


class McapFile:
    """One MCAP file, zstd-compressed as a whole or not."""

    def __init__(self, path: Path) -> None:
        """Prepare to read a file."""
        self.path = path
        self.offered: dict[str, str] = {}
        self.foreign: dict[str, str] = {}
        self._record_start = 0
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}

    def scan(self, gaps: list[str]) -> Iterator[Raw]:
        """
        Yield all messages in the order of the file; add a sentence to `gaps` for each damage.

        :raises ObservationError: it is no MCAP file, or a record in it is too large.
        """
        with self.path.open('rb') as file:
            stream = decompressing(file) if self.path.suffix == '.zstd' else file
            try:
                begins = stream.read(len(MAGIC))
            except zstandard.ZstdError:
                begins = b''
            if begins != MAGIC:
                raise ObservationError(f'{self.path}: not an MCAP file')
            yield from self._after_damage(stream, gaps)

    def _after_damage(self, stream: BinaryIO, gaps: list[str]) -> Iterator[Raw]:
        """Yield the messages; after damage continue at the next chunk in the index."""
        starts, known = self._index()
        while True:
            try:
                yield from self._messages(stream, gaps)
                return
            except DAMAGE:
                following = bisect_right(starts, self._record_start)
                if following == len(starts):
                    gaps.append(
                        f'{self.path.name}: ends early, at byte {stream.tell()} of {known}'
                    )
                    return
                gaps.append(
                    f'{self.path.name}: damaged from byte {self._record_start} '
                    f'to {starts[following]}'
                )
                stream.seek(starts[following])

    def _index(self) -> tuple[list[int], int]:
        """Return the starts of chunks, as far as the index has them, and the file's size."""
        size = self.path.stat().st_size
        if self.path.suffix == '.zstd':
            return [], size
        try:
            with self.path.open('rb') as file:
                summary = make_reader(file).get_summary()
        except (*DAMAGE, AssertionError, TypeError, OSError):  # OSError: shorter than a footer
            return [], size
        if summary is None:
            return [], size
        self._schemas.update(summary.schemas)
        for channel in summary.channels.values():
            self._learn(channel)
        starts = (index.chunk_start_offset for index in summary.chunk_indexes)
        return sorted(start for start in starts if start < size), size  # others are damage, too

    def _messages(self, stream: BinaryIO, gaps: list[str]) -> Iterator[Raw]:
        while True:
            start = self._record_start = stream.tell()
            opcode, length = RECORD_HEAD.unpack(_exactly(stream, RECORD_HEAD.size))
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                return
            if length > LARGEST_RECORD and self._beyond(length):
                raise EOFError
            check_size(length, self.path)
            if opcode == Opcode.CHUNK:
                body = stream.read(length)
                yield from self._of_chunk(body, start, gaps, whole=len(body) == length)
                if len(body) != length:
                    raise EOFError
            else:
                yield from self._record(opcode, _exactly(stream, length), (start, -1))

    def _beyond(self, length: int) -> bool:
        """Tell whether a length exceeds the file, which shows damage."""
        return self.path.suffix != '.zstd' and length > self.path.stat().st_size

    def _of_chunk(self, body: bytes, start: int, gaps: list[str], whole: bool) -> Iterator[Raw]:
        """Yield the messages of a chunk; a damaged one does not affect the others."""
        try:
            data = _chunk_data(body, self.path) if whole else _begun_chunk_data(body)
            for opcode, at, record in _records_in(data):
                yield from self._record(opcode, record, (start, at))
        except DAMAGE as error:
            if whole:
                gaps.append(
                    f'{self.path.name}: the chunk at byte {start} is damaged '
                    f'({str(error) or type(error).__name__})'
                )

    def _record(self, opcode: int, body: bytes, place: Place) -> Iterator[Raw]:
        if opcode == Opcode.MESSAGE:
            raw = self._raw(body, place)
            if raw is not None:
                yield raw
        elif opcode == Opcode.SCHEMA:
            schema = Schema.read(ReadDataStream(BytesIO(body)))
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            self._learn(Channel.read(ReadDataStream(BytesIO(body))))

    def _learn(self, channel: Channel) -> None:
        self._channels[channel.id] = channel
        self.offered[channel.topic] = channel.metadata.get('offered_qos_profiles', '')
        if channel.message_encoding not in ('cdr', ''):
            self.foreign[channel.topic] = channel.message_encoding

    def _raw(self, body: bytes, place: Place) -> Raw | None:
        channel_id, sequence, time_ns, _ = MESSAGE_HEAD.unpack_from(body)
        channel = self._channels[channel_id]
        if time_ns > LATEST_NS:
            raise ValueError(f'a message has the time {time_ns} ns')
        if channel.topic in self.foreign:
            return None
        schema = self._schemas.get(channel.schema_id)
        kind, text = (schema.name, _text(schema)) if schema else ('', '')
        data = body[MESSAGE_HEAD.size :]
        return Raw(channel.topic, kind, time_ns, data, text, sequence == REPEATED, place)

    def pick(self, places: Iterable[Place]) -> Iterator[Raw]:
        """Yield the messages at some places of a file that has been scanned."""
        chunks: OrderedDict[int, bytes] = OrderedDict()
        with unpacked(self.path, []) as path, path.open('rb') as file:
            for start, at in places:
                if at < 0:
                    file.seek(start)
                    _, length = RECORD_HEAD.unpack(_exactly(file, RECORD_HEAD.size))
                    raw = self._raw(_exactly(file, length), (start, at))
                else:
                    data = self._cached(file, start, chunks)
                    _, length = RECORD_HEAD.unpack_from(data, at)
                    begin = at + RECORD_HEAD.size
                    raw = self._raw(data[begin : begin + length], (start, at))
                if raw is not None:
                    yield raw

    def _cached(self, file: BinaryIO, start: int, chunks: OrderedDict[int, bytes]) -> bytes:
        """Return the content of a chunk, from the cache or from the file."""
        if start in chunks:
            chunks.move_to_end(start)
            return chunks[start]
        file.seek(start)
        _, length = RECORD_HEAD.unpack(_exactly(file, RECORD_HEAD.size))
        body = file.read(length)
        whole = len(body) == length
        chunks[start] = _chunk_data(body, self.path) if whole else _begun_chunk_data(body)
        while len(chunks) > 1 and sum(map(len, chunks.values())) > CACHE_BYTES:
            chunks.popitem(last=False)
        return chunks[start]


def _text(schema: Schema) -> str:
    return schema.data.decode('utf-8', 'replace') if schema.encoding == 'ros2msg' else ''


def _chunk_data(body: bytes, path: Path) -> bytes:
    """Return the records of a whole chunk; its checksum must be right."""
    chunk = Chunk.read(ReadDataStream(BytesIO(body)))
    check_size(chunk.uncompressed_size, path)
    stream, size = get_chunk_data_stream(chunk, validate_crc=True)
    return stream.read(size)


def _begun_chunk_data(body: bytes) -> bytes:
    """Return the records of a chunk that is cut by the file's end, as far as possible."""
    *_, name_length = CHUNK_HEAD.unpack_from(body)
    begin = CHUNK_HEAD.size + name_length
    name, data = body[CHUNK_HEAD.size : begin], body[begin + 8 :]
    if name == b'zstd':
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return LZ4FrameDecompressor().decompress(data) if name == b'lz4' else data


def _records_in(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield opcode, place and body of the whole records of a chunk."""
    at = 0
    while at + RECORD_HEAD.size <= len(data):
        opcode, length = RECORD_HEAD.unpack_from(data, at)
        end = at + RECORD_HEAD.size + length
        if end > len(data):
            return
        yield opcode, at, data[at + RECORD_HEAD.size : end]
        at = end


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data
