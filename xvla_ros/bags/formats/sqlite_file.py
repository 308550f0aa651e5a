# SPDX-License-Identifier: Apache-2.0
"""Reads SQLite databases, rosbag2's older format; damaged ones as far as possible."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
import sqlite3

from xvla_ros.bags.formats.storage import check_size, Place, Raw, unpacked
from xvla_ros.core.errors import ObservationError

MAGIC = b'SQLite format 3\x00'
COLUMNS = 'SELECT id, topic_id, timestamp, data FROM messages'
# After damage, the file counts as ended if no row is readable within this many rows.
LARGEST_HOLE = 1_000_000
# Of the table of messages: id, topic, time [ns], data.
Row = tuple[int, int, int, bytes]


class SqliteFile:
    """One database, zstd-compressed as a whole or not."""

    def __init__(self, path: Path) -> None:
        """Prepare to read a file."""
        self.path = path
        self.offered: dict[str, str] = {}
        self.foreign: dict[str, str] = {}
        self._topics: dict[int, tuple[str, str]] = {}

    def scan(self, gaps: list[str]) -> Iterator[Raw]:
        """
        Yield all messages in the order of the file; add a sentence to `gaps` for each damage.

        :raises ObservationError: it is no database, no bag, or a message in it is too large.
        """
        with unpacked(self.path, gaps) as file:
            self._check_magic(file)
            with closing(_connect(file)) as database:
                try:
                    self._read_topics(database)
                except sqlite3.DatabaseError as error:
                    gaps.append(f'{self.path.name}: {error}')
                    return
                yield from self._rows(database, gaps)

    def _check_magic(self, file: Path) -> None:
        with file.open('rb') as opened:
            if opened.read(len(MAGIC)) != MAGIC:
                raise ObservationError(f'{self.path}: not an SQLite database')

    def _read_topics(self, database: sqlite3.Connection) -> None:
        tables = {name for (name,) in database.execute('SELECT name FROM sqlite_master')}
        if not {'topics', 'messages'} <= tables:
            raise ObservationError(f'{self.path}: an SQLite database, but not a bag of rosbag2')
        rows = database.execute('SELECT * FROM topics')
        names = [column[0] for column in rows.description]
        for row in rows:
            topic = dict(zip(names, row, strict=True))
            name, encoding = str(topic['name']), topic.get('serialization_format', 'cdr')
            self._topics[topic['id']] = name, str(topic['type'])
            self.offered[name] = str(topic.get('offered_qos_profiles') or '')
            if encoding != 'cdr':
                self.foreign[name] = str(encoding)

    def _rows(self, database: sqlite3.Connection, gaps: list[str]) -> Iterator[Raw]:
        """Yield the rows in the order of their ids, except those in damaged pages."""
        last = 0
        while True:
            try:
                for row in database.execute(f'{COLUMNS} WHERE id > ? ORDER BY id', (last,)):
                    if row[0] <= last:  # a page that points back, an endless loop for SQLite
                        raise sqlite3.DatabaseError('database pages are out of order')
                    yield from self._raw(row)
                    last = row[0]
                return
            except sqlite3.DatabaseError as error:
                row = _next_readable(database, last)
                if row is None:
                    gaps.append(f'{self.path.name}: {error}, from message {last + 1} on')
                    return
                if row[0] > last + 1:
                    hole = f'messages {last + 1} to {row[0] - 1}'
                    gaps.append(f'{self.path.name}: {error}, {hole} are lost')
                yield from self._raw(row)
                last = row[0]

    def _raw(self, row: Row) -> Iterator[Raw]:
        number, topic_id, time_ns, data = row
        topic, kind = self._topics.get(topic_id, ('', ''))
        if not isinstance(data, bytes) or not isinstance(time_ns, int):
            return  # SQLite keeps a damaged value as text or NULL
        check_size(len(data), self.path, 'message')
        if topic and topic not in self.foreign:
            yield Raw(topic, kind, time_ns, data, place=(number, 0))

    def pick(self, places: Iterable[Place]) -> Iterator[Raw]:
        """Yield the messages at some places of a file that has been scanned."""
        with unpacked(self.path, []) as file, closing(_connect(file)) as database:
            for number, _ in places:
                for row in database.execute(f'{COLUMNS} WHERE id = ?', (number,)):
                    yield from self._raw(row)


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f'{file.resolve().as_uri()}?mode=ro', uri=True)


def _next_readable(database: sqlite3.Connection, last: int) -> Row | None:
    """
    Return a readable row after a damaged page; None without one.

    After a small gap it is the next row, after a large one a row at most 1 % of the gap later.
    """
    number = last + 1
    while number <= last + LARGEST_HOLE:
        try:
            row: Row | None = database.execute(f'{COLUMNS} WHERE id = ?', (number,)).fetchone()
        except sqlite3.DatabaseError:
            row = None
        if row is not None and row[0] == number:
            return row
        number += max(1, (number - last) // 100)
    return None
