# SPDX-License-Identifier: Apache-2.0
"""The older storage of rosbag2: SQLite databases, damaged ones as far as they can be read."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
import shutil
import sqlite3
import tempfile

import zstandard

from xvla_ros.core.errors import ObservationError
from xvla_ros.replay.mcap_file import DamagedFileError, LARGEST_RECORD, Raw

MAGIC = b'SQLite format 3\x00'
QUERY = (
    'SELECT t.name, t.type, m.timestamp, m.data FROM messages m JOIN topics t ON t.id = m.topic_id'
)


def read_sqlite(path: Path) -> Iterator[Raw]:
    """
    Yield the messages of a database, zstd-compressed as a whole or not, in time order.

    :raises ObservationError: it is no database, no bag, or a message in it is too large.
    :raises DamagedFileError: it is damaged, after what could be read.
    """
    if path.suffix != '.zstd':
        yield from _messages(path, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.stem
        with path.open('rb') as packed, unpacked.open('wb') as file:
            try:
                shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed), file)
            except zstandard.ZstdError as error:
                raise DamagedFileError(f'{path.name}: cannot be decompressed: {error}') from error
        yield from _messages(unpacked, path)


def _messages(file: Path, path: Path) -> Iterator[Raw]:
    with file.open('rb') as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise ObservationError(f'{path}: not an SQLite database')
    with closing(sqlite3.connect(f'{file.resolve().as_uri()}?mode=ro', uri=True)) as database:
        last = ''
        try:
            _check(database, path)
            for topic, kind, time_ns, data in database.execute(
                f'{QUERY} ORDER BY m.timestamp, m.id'
            ):
                last = f' after time {time_ns}'
                yield Raw(topic, kind, time_ns, data)
        except sqlite3.DatabaseError as error:
            raise DamagedFileError(f'{path.name}: {error}{last}') from error


def _check(database: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in database.execute('SELECT name FROM sqlite_master')}
    if not {'topics', 'messages'} <= tables:
        raise ObservationError(f'{path}: an SQLite database, but not a bag of rosbag2')
    (largest,) = database.execute('SELECT MAX(LENGTH(data)) FROM messages').fetchone()
    if (largest or 0) > LARGEST_RECORD:
        raise ObservationError(
            f'{path}: holds a message of {largest / 2**20:.0f} MB; the limit is '
            f'{LARGEST_RECORD // 2**20} MB'
        )
