# SPDX-License-Identifier: Apache-2.0
"""
MCAP files read from front to back, so that one without its end is as good as one with it.

A recorder that was killed leaves no index and perhaps half a record; all before that is returned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
import os
from pathlib import Path
import struct
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema
from mcap.stream_reader import CRCValidationError, get_chunk_data_stream
import zstandard

from xvla_ros.core.errors import ObservationError

MAGIC = b'\x89MCAP0\r\n'
# No camera message comes near this [bytes]; a larger record is refused before it is read.
LARGEST_RECORD = 256 * 2**20
# Sequence number of a latched message that our writer copied from the file before.
REPEATED = 2**32 - 1
# Opcode and length of a record; channel, sequence, log time and publish time of a message.
RECORD_HEAD, MESSAGE_HEAD = struct.Struct('<BQ'), struct.Struct('<HIQQ')
DAMAGE = (
    EOFError, KeyError, McapError, CRCValidationError, zstandard.ZstdError, struct.error,
    UnicodeDecodeError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Raw:
    """
    One message as it was recorded.

    definition: its type's, where the file has one. repeated: it is also in the file before.
    """

    topic: str
    kind: str
    time_ns: int
    data: bytes
    definition: str = ''
    repeated: bool = False


class DamagedFileError(Exception):
    """A file ends early or is damaged; everything before that has been returned."""


def read_mcap(path: Path) -> Iterator[Raw]:
    """
    Yield the messages of a file, zstd-compressed as a whole or not, in the order of the file.

    :raises ObservationError: it is no MCAP file, or a record in it is too large.
    :raises DamagedFileError: it ends before its end, after what could be read.
    """
    with path.open('rb') as file:
        packed = path.suffix == '.zstd'
        stream = zstandard.ZstdDecompressor().stream_reader(file) if packed else file
        try:
            if _exactly(stream, len(MAGIC)) != MAGIC:
                raise ObservationError(f'{path}: not an MCAP file')
            yield from _messages(stream, path)
        except DAMAGE as error:
            where = (
                '' if packed else f', at byte {file.tell()} of {os.fstat(file.fileno()).st_size}'
            )
            raise DamagedFileError(f'{path.name}: ends within a record{where}') from error


def _messages(stream: BinaryIO, path: Path) -> Iterator[Raw]:
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    for opcode, body in _records(stream, path):
        if opcode == Opcode.MESSAGE:
            channel_id, sequence, time_ns, _ = MESSAGE_HEAD.unpack_from(body)
            channel = channels[channel_id]
            schema = schemas.get(channel.schema_id)
            kind, text = (schema.name, _text(schema)) if schema else ('', '')
            data = body[MESSAGE_HEAD.size :]
            yield Raw(channel.topic, kind, time_ns, data, text, sequence == REPEATED)
        elif opcode == Opcode.SCHEMA:
            schema = Schema.read(ReadDataStream(BytesIO(body)))
            schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(ReadDataStream(BytesIO(body)))
            channels[channel.id] = channel


def _text(schema: Schema) -> str:
    return schema.data.decode('utf-8', 'replace') if schema.encoding == 'ros2msg' else ''


def _records(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield opcode and body of each record up to the end of the data, chunks unpacked."""
    while True:
        opcode, length = RECORD_HEAD.unpack(_exactly(stream, RECORD_HEAD.size))
        if opcode in (Opcode.DATA_END, Opcode.FOOTER):
            return
        _check_size(length, path)
        body = _exactly(stream, length)
        if opcode == Opcode.CHUNK:
            yield from _unpacked(body, path)
        else:
            yield opcode, body


def _unpacked(body: bytes, path: Path) -> Iterator[tuple[int, bytes]]:
    chunk = Chunk.read(ReadDataStream(BytesIO(body)))
    _check_size(chunk.uncompressed_size, path)
    inner, size = get_chunk_data_stream(chunk, validate_crc=True)
    while inner.count < size:
        opcode, length = RECORD_HEAD.unpack(inner.read(RECORD_HEAD.size))
        yield opcode, inner.read(length)


def _check_size(length: int, path: Path) -> None:
    """
    Refuse a record before it is read.

    :raises ObservationError: it is really there, and too large.
    :raises EOFError: it is longer than the file: damage that looks like a length.
    """
    if length <= LARGEST_RECORD:
        return
    if path.suffix != '.zstd' and length > path.stat().st_size:
        raise EOFError
    raise ObservationError(
        f'{path}: holds a record of {length / 2**20:.0f} MB; the limit is '
        f'{LARGEST_RECORD // 2**20} MB'
    )


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data
