# SPDX-License-Identifier: Apache-2.0
"""Episodes of a LeRobot dataset, v2.0, v2.1 or v3.0."""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa

from xvla_ros.core.errors import XvlaError
from xvla_ros.data.assembly import assemble, Recording
from xvla_ros.data.context import Context, Result
from xvla_ros.data.errors import DataError
from xvla_ros.data.images import stored_image, turned
from xvla_ros.data.readers.lerobot_tables import column, Entry, IMAGES, Tables
from xvla_ros.data.source import CameraKeys, Source
from xvla_ros.data.video import Video

Look = Callable[[int], NDArray[np.uint8]]
# The nearest frame of a video may be this share of a period away: durations of concatenated files
# drift by up to a frame.
NEAR_SHARE = 0.5
PREFIX = 'observation.images.'


def read(path: Path, source: Source, context: Context) -> Iterator[Result]:
    """
    Yield the episodes of a dataset, and an error for each that cannot be used.

    :raises DataError: its meta files cannot be read.
    """
    reader = _Reader(Tables(path), source)
    for entry in reader.tables.entries():
        try:
            yield assemble(reader.recording(entry), source, context)
        except DataError as error:
            yield reader.blamed(error, entry)


class _Reader:
    """One dataset and what a source file says of it."""

    def __init__(self, tables: Tables, source: Source) -> None:
        self.tables, self._source = tables, source
        self._cameras = source.cameras or self._all_cameras()
        for name, keys in self._cameras.items():
            if tables.features.get(keys.key, {}).get('dtype') not in IMAGES:
                raise DataError(
                    f"camera {name}: '{keys.key}' is not an image; images are "
                    f'{", ".join(k.key for k in self._all_cameras().values())}',
                    file=tables.folder,
                )
        self._video = cache(Video)
        # Only the present episode's are kept, because a dataset does not fit into memory.
        self._stored = lru_cache(maxsize=len(self._cameras))(self._images)

    def _images(self, entry: Entry, key: str) -> pa.ChunkedArray:
        return self.tables.images(entry, key)

    def _all_cameras(self) -> dict[str, CameraKeys]:
        features = self.tables.features
        found = [key for key, feature in features.items() if feature.get('dtype') in IMAGES]
        return {key.removeprefix(PREFIX): CameraKeys(key=key) for key in found}

    def blamed(self, error: DataError, entry: Entry) -> DataError:
        """Return an error that names the episode, where it does not yet."""
        if error.episode:
            return error
        return DataError(
            error.text, file=error.file, episode=str(entry.index), frame=error.frame,
            what=error.what,
        )  # fmt: skip

    def recording(self, entry: Entry) -> Recording:
        """
        Return one episode, its images not yet decoded.

        :raises DataError: rows or frames are missing.
        """
        table = self.tables.rows(entry)
        looks = [self._look(keys, entry, table) for keys in self._cameras.values()]
        return Recording(
            name=str(entry.index),
            index=entry.index,
            file=str(self.tables.data_file(entry)),
            instruction=self._instruction(entry, table),
            table=lambda key: column(table, key),
            look=lambda frame: tuple(look(frame) for look in looks),
            cameras=tuple(self._cameras),
            times_s=np.asarray(column(table, 'timestamp'), np.float64).reshape(-1),
            fps=self.tables.fps,
        )

    def _instruction(self, entry: Entry, table: pa.Table) -> str:
        if self._source.instruction:
            return self._source.instruction
        if self._source.instruction_key:
            return str(np.ravel(column(table, self._source.instruction_key))[0])
        if 'task_index' in table.column_names:
            task = int(np.ravel(column(table, 'task_index'))[0])
            return self.tables.tasks.get(task, '')
        return entry.tasks[0] if entry.tasks else ''

    def _look(self, keys: CameraKeys, entry: Entry, table: pa.Table) -> Look:
        if self.tables.features[keys.key]['dtype'] == 'image':
            return self._of_table(keys, entry)
        return self._of_video(keys, entry, table)

    def _of_table(self, keys: CameraKeys, entry: Entry) -> Look:
        """Return what decodes images that are stored as files in the table."""

        def error(text: str, frame: int) -> DataError:
            file = self.tables.data_file(entry)
            return DataError(text, file=file, episode=str(entry.index), frame=frame)

        def look(frame: int) -> NDArray[np.uint8]:
            stored = self._stored(entry, keys.key)[frame].as_py()
            if not stored or not stored.get('bytes'):
                raise error(f"has no image of '{keys.key}'", frame)
            try:
                return stored_image(stored['bytes'], keys)
            except (ValueError, XvlaError) as reason:
                raise error(f"image of '{keys.key}': {reason}", frame) from reason

        return look

    def _of_video(self, keys: CameraKeys, entry: Entry, table: pa.Table) -> Look:
        """Return what decodes images of a video, once it is known that it has them all."""
        path, begin = self.tables.video(keys.key, entry)
        video, tolerance = self._video(path), NEAR_SHARE / self.tables.fps
        times = np.asarray(column(table, 'timestamp'), np.float64).reshape(-1) + begin
        lost = np.flatnonzero(video.missing(times, tolerance))
        if len(lost):
            raise DataError(
                f"the video of '{keys.key}' has no frame at {times[lost[0]]:.3f} s "
                f'({len(lost)} of {len(times)} are missing)',
                file=path, episode=str(entry.index), frame=int(lost[0]), what='missing',
            )  # fmt: skip

        def look(frame: int) -> NDArray[np.uint8]:
            try:
                return turned(video.at(float(times[frame]), tolerance), keys.colours, keys)
            except DataError as error:
                raise DataError(
                    error.text, file=path, episode=str(entry.index), frame=frame
                ) from error

        return look
