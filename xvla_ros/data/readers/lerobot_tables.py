# SPDX-License-Identifier: Apache-2.0
"""The tables of a LeRobot dataset, v2.0, v2.1 and v3.0, without lerobot."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa
import pyarrow.parquet as parquet

from xvla_ros.data.errors import DataError

INFO = 'meta/info.json'
IMAGES = ('image', 'video')
# Columns of an episode's statistics: most of the file, and never read here.
STATISTICS = 'stats/'


@dataclass(frozen=True, slots=True)
class Entry:
    """One episode as the meta files describe it."""

    index: int
    length: int
    tasks: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict, compare=False)


class Tables:
    """The meta files of one dataset, and its rows."""

    def __init__(self, folder: Path) -> None:
        """
        Read `info.json`.

        :raises DataError: it is missing, or of a version that is not known.
        """
        self.folder = folder
        self.info: dict[str, Any] = self._json(folder / INFO)
        version = str(self.info.get('codebase_version', ''))
        if version not in ('v2.0', 'v2.1', 'v3.0'):
            raise DataError(
                f"codebase_version is '{version}', expected v2.0, v2.1 or v3.0", file=folder / INFO
            )
        self.is_v3 = version == 'v3.0'
        self.features: dict[str, dict[str, Any]] = self.info['features']
        self.fps = float(self.info['fps'])
        self._last: tuple[Path | None, pa.Table] = (None, None)

    def _json(self, file: Path) -> Any:
        try:
            return json.loads(file.read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            raise DataError(f'cannot be read: {error}', file=file, what='missing') from error

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        file = self.folder / 'meta' / name
        try:
            for line in file.read_text(encoding='utf-8').splitlines():
                if line.strip():
                    yield json.loads(line)
        except (OSError, ValueError) as error:
            raise DataError(f'cannot be read: {error}', file=file, what='missing') from error

    def entries(self) -> Iterator[Entry]:
        """
        Yield the episodes in their order.

        :raises DataError: the meta files cannot be read.
        """
        rows = self._episode_rows() if self.is_v3 else self._lines('episodes.jsonl')
        for row in rows:
            tasks = tuple(str(task) for task in row.get('tasks') or ())
            yield Entry(int(row['episode_index']), int(row['length']), tasks, row)

    def _episode_rows(self) -> Iterator[dict[str, Any]]:
        files = sorted((self.folder / 'meta' / 'episodes').rglob('*.parquet'))
        if not files:
            raise DataError('holds no table of episodes', file=self.folder / 'meta/episodes')
        for file in files:
            table = _open(file)
            names = [n for n in table.schema_arrow.names if not n.startswith(STATISTICS)]
            yield from table.read(columns=names).to_pylist()

    @cached_property
    def tasks(self) -> dict[int, str]:
        """The texts of tasks by their index."""
        if not self.is_v3:
            return {int(row['task_index']): str(row['task']) for row in self._lines('tasks.jsonl')}
        table = _open(self.folder / 'meta' / 'tasks.parquet').read()
        text = next((n for n in ('task', '__index_level_0__') if n in table.column_names), None)
        if text is None:
            raise DataError('holds no texts of tasks', file=self.folder / 'meta/tasks.parquet')
        pairs = zip(table['task_index'].to_pylist(), table[text].to_pylist(), strict=True)
        return {int(index): str(task) for index, task in pairs}

    @cached_property
    def _places(self) -> dict[int, tuple[Path, int, int]]:
        """File, first row and count of each episode of v3; what its tables say may be stale."""
        places: dict[int, tuple[Path, int, int]] = {}
        if not self.is_v3:
            return places
        for file in sorted((self.folder / 'data').rglob('*.parquet')):
            episodes = _open(file).read(columns=['episode_index'])['episode_index'].to_numpy()
            found, first, counts = np.unique(episodes, return_index=True, return_counts=True)
            rows = zip(found.tolist(), first.tolist(), counts.tolist(), strict=True)
            places |= {episode: (file, begin, count) for episode, begin, count in rows}
        return places

    def data_file(self, entry: Entry) -> Path:
        """
        Return the file that holds the rows of an episode.

        :raises DataError: there is none.
        """
        if self.is_v3:
            if entry.index not in self._places:
                raise self._error(entry, 'has no rows in data/', 'missing')
            return self._places[entry.index][0]
        size = int(self.info.get('chunks_size', 1000))
        name = self.info['data_path'].format(
            episode_chunk=entry.index // size, episode_index=entry.index
        )
        return self.folder / str(name)

    def rows(self, entry: Entry) -> pa.Table:
        """
        Return the rows of an episode.

        :raises DataError: they are missing, or not as many as the meta files say.
        """
        file = self.data_file(entry)
        if not file.is_file():
            raise self._error(entry, f'{file.name} is missing', 'missing')
        table = self._numbers(file)
        if self.is_v3:
            _, begin, count = self._places[entry.index]
            table = table.slice(begin, count)
        if table.num_rows != entry.length:
            raise self._error(
                entry, f'has {table.num_rows} rows, its meta file says {entry.length}', 'missing'
            )
        return table

    def _numbers(self, file: Path) -> pa.Table:
        """Return all of a file but images; the last one is kept, for episodes share files."""
        if self._last[0] != file:
            opened = _open(file)
            stored = {k for k, feature in self.features.items() if feature['dtype'] == 'image'}
            names = [name for name in opened.schema_arrow.names if name not in stored]
            self._last = file, opened.read(columns=names)
        return self._last[1]

    def images(self, entry: Entry, key: str) -> pa.ChunkedArray:
        """Return the image files of an episode that are stored in its table, in its order."""
        file = self.data_file(entry)
        opened, (_, begin, count) = _open(file), self._places.get(entry.index, (file, 0, None))
        groups, start, first = [], 0, 0
        for group in range(opened.num_row_groups):
            size = opened.metadata.row_group(group).num_rows
            if start + size <= begin:
                first = start + size
            elif count is None or start < begin + count:
                groups.append(group)
            start += size
        return opened.read_row_groups(groups, columns=[key])[key].slice(begin - first, count)

    def _error(self, entry: Entry, text: str, what: str) -> DataError:
        return DataError(text, file=self.folder, episode=str(entry.index), what=what)

    def video(self, key: str, entry: Entry) -> tuple[Path, float]:
        """Return the video of a camera with an episode, and where in it the episode begins [s]."""
        if not self.is_v3:
            size = int(self.info.get('chunks_size', 1000))
            name = self.info['video_path'].format(
                episode_chunk=entry.index // size, episode_index=entry.index, video_key=key
            )
            return self.folder / str(name), 0.0
        facts = {n: entry.facts.get(f'videos/{key}/{n}') for n in ('chunk_index', 'file_index')}
        begin = entry.facts.get(f'videos/{key}/from_timestamp')
        if begin is None or None in facts.values():
            raise self._error(entry, f"its table names no video of '{key}'", 'missing')
        return self.folder / str(self.info['video_path'].format(video_key=key, **facts)), begin


def _open(file: Path) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f'cannot be read: {error}', file=file) from error


def column(table: pa.Table, key: str) -> NDArray[Any]:
    """
    Return a column as rows (F, ...).

    :raises KeyError: there is none.
    """
    if key not in table.column_names:
        raise KeyError(key)
    values = table[key].to_numpy()
    if values.dtype != object or not len(values) or isinstance(values[0], (str, dict)):
        return np.asarray(values)
    return np.array(table[key].to_pylist())
