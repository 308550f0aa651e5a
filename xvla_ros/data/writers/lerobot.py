# SPDX-License-Identifier: Apache-2.0
"""
Episodes as a LeRobot v3.0 dataset, with the source file that reads it back beside.

State and action are EE6D (20,), as X-VLA in LeRobot takes them: grippers 1 for closed, Rotate6D
interleaved. LeRobot's own `timestamp` is frame_index / fps; the real times are a feature.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow as pa
import pyarrow.parquet as parquet

from xvla_ros.core.errors import ConfigError
from xvla_ros.data.episodes import Episode
from xvla_ros.data.writers.beside import write_source
from xvla_ros.data.writers.encoding import LOSSLESS, png, VideoWriter
from xvla_ros.data.writers.lerobot_meta import (
    ACTION,
    automatic_features,
    DATA_MB,
    DATA_PATH,
    data_schema,
    episode_row,
    Feature,
    FILES_PER_CHUNK,
    image_feature,
    IMAGES,
    JOINTS,
    number_feature,
    STAMP,
    STATE,
    VIDEO_MB,
    VIDEO_PATH,
    write_episodes,
    write_info,
    write_statistics,
    write_tasks,
)
from xvla_ros.data.writers.options import WriteOptions
from xvla_ros.data.writers.statistics import (
    MOST_IMAGES,
    of_images,
    of_numbers,
    Statistics,
    together,
)
from xvla_ros.data.writers.vectors import ee6d_names, ee6d_rows, next_rows

MEGABYTE = 2**20


@dataclass(kw_only=True, slots=True)
class _Place:
    """The file of a stream that is written now: chunk and number in it."""

    number: int = 0

    @property
    def parts(self) -> dict[str, int]:
        return dict(zip(('chunk_index', 'file_index'), divmod(self.number, FILES_PER_CHUNK),
                        strict=True))  # fmt: skip


@dataclass(kw_only=True)
class _Writer:
    """A dataset that grows by one episode at a time."""

    folder: Path
    options: WriteOptions
    fps: int
    features: dict[str, Feature]
    arms: tuple[str, ...]
    cameras: tuple[str, ...]
    commanded: bool
    frames: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    statistics: list[dict[str, Statistics]] = field(default_factory=list)
    data_place: _Place = field(default_factory=_Place)
    video_places: dict[str, _Place] = field(default_factory=dict)
    videos: dict[str, VideoWriter] = field(default_factory=dict)
    table: parquet.ParquetWriter | None = None

    def add(self, episode: Episode) -> None:
        """Append an episode."""
        task = self.tasks.setdefault(episode.instruction, len(self.tasks))
        columns, facts = self._numbers(episode, task), self._facts(episode)
        found = {key: of_numbers(values) for key, values in columns.items()}
        facts |= self._images(episode, columns, found)
        self._write(columns)
        self.frames += len(episode)
        self.statistics.append(found)
        self.rows.append(episode_row(facts, found))

    def _numbers(self, episode: Episode, task: int) -> dict[str, Any]:
        frames, first = len(episode), self.frames
        state = ee6d_rows(episode.motion)
        sent = ee6d_rows(episode.commanded) if episode.commanded else next_rows(state)
        columns: dict[str, Any] = {STATE: state, ACTION: sent, STAMP: episode.times_s}
        if episode.joints is not None:
            columns[JOINTS] = episode.joints.astype(np.float32)
        index = np.arange(frames)
        return columns | {
            'timestamp': (index / self.fps).astype(np.float32),
            'frame_index': index,
            'episode_index': np.full(frames, len(self.rows)),
            'index': first + index,
            'task_index': np.full(frames, task),
        }

    def _facts(self, episode: Episode) -> dict[str, Any]:
        parts = {f'data/{name}': value for name, value in self.data_place.parts.items()}
        return {
            'episode_index': len(self.rows),
            'tasks': [episode.instruction],
            'length': len(episode),
            **parts,
            'dataset_from_index': self.frames,
            'dataset_to_index': self.frames + len(episode),
        }

    def _images(
        self, episode: Episode, columns: dict[str, Any], found: dict[str, Statistics]
    ) -> dict[str, Any]:
        """Write the images of an episode, one frame in memory; return where videos begin."""
        keys = [key for key in self.features if key.startswith(IMAGES)]
        begins = {} if self.options.images == LOSSLESS else self._begin_videos(keys)
        every = max(1, len(episode) // MOST_IMAGES)
        seen: dict[str, list[NDArray[np.uint8]]] = {key: [] for key in keys}
        files: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
        for frame in range(len(episode)):
            for key, image in zip(keys, episode.look(frame), strict=True):
                self._check_size(episode, frame, key, image)
                if key in self.videos:
                    self.videos[key].add(image)
                else:
                    files[key].append({'bytes': png(image), 'path': f'frame_{frame:06d}.png'})
                if frame % every == 0:
                    seen[key].append(image)
        for key in keys:
            found[key] = of_images(seen[key], len(episode))
            if key in self.videos:
                begins[f'videos/{key}/to_timestamp'] = self.videos[key].end_s
            else:
                columns[key] = files[key]
        return begins

    def _check_size(
        self, episode: Episode, frame: int, key: str, image: NDArray[np.uint8]
    ) -> None:
        expected = tuple(self.features[key]['shape'])
        if image.shape != expected:
            raise episode.error(
                f"the image of '{key}' is {image.shape}, others are {expected}", frame, 'shape'
            )

    def _begin_videos(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return where an episode begins in each video; a full one is followed by another."""
        facts: dict[str, Any] = {}
        for key in keys:
            place, video = self.video_places.setdefault(key, _Place()), self.videos.get(key)
            if video is not None and video.size > VIDEO_MB * MEGABYTE:
                video.close()
                place.number, video = place.number + 1, None
            if video is None:
                path = self.folder / VIDEO_PATH.format(video_key=key, **place.parts)
                self.videos[key] = VideoWriter(path, self.options.images, self.fps)
            facts |= {f'videos/{key}/{name}': value for name, value in place.parts.items()}
            facts[f'videos/{key}/from_timestamp'] = self.videos[key].end_s
        return facts

    def _write(self, columns: dict[str, Any]) -> None:
        """Write the rows of an episode as one row group."""
        schema = data_schema(self.features)
        file = self.folder / DATA_PATH.format(**self.data_place.parts)
        if self.table is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.table = parquet.ParquetWriter(file, schema, compression='snappy')
        made = [_array(columns[each.name], each.type) for each in schema]
        self.table.write_table(pa.Table.from_arrays(made, schema=schema))
        if file.stat().st_size > DATA_MB * MEGABYTE:
            self.table.close()
            self.table, self.data_place.number = None, self.data_place.number + 1

    def close(self, robot: str) -> None:
        """Write what the encoders still hold, and the meta files."""
        for video in self.videos.values():
            video.close()
        if self.table is not None:
            self.table.close()
        counts = {
            'total_episodes': len(self.rows),
            'total_frames': self.frames,
            'total_tasks': len(self.tasks),
        }
        write_info(self.folder, self.features, robot, self.fps, counts)
        write_statistics(self.folder, together(self.statistics))
        write_tasks(self.folder, list(self.tasks))
        write_episodes(self.folder, self.rows)


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pa.array(values, kind)


def write(folder: Path, episodes: Iterable[Episode], options: WriteOptions) -> int:
    """
    Write a dataset; return how many episodes it has.

    :raises DataError: an episode cannot be read, or its images have another size.
    """
    writer: _Writer | None = None
    for episode in episodes:
        writer = writer or _begin(folder, episode, options)
        writer.add(episode)
    if writer is None:
        raise ConfigError('there is no episode to write')
    writer.close(options.robot)
    cameras = {name: {'key': IMAGES + name} for name in writer.cameras}
    write_source(
        folder,
        {'format': 'lerobot', 'times': STAMP, 'cameras': cameras},
        writer.arms, options, (STATE, ACTION if writer.commanded else ''),
    )  # fmt: skip
    return len(writer.rows)


def _begin(folder: Path, episode: Episode, options: WriteOptions) -> _Writer:
    fps = max(1, round(episode.fps))
    arms = options.arms_of(episode.openings.shape[1])
    features = {
        STATE: number_feature(ee6d_names(arms)),
        ACTION: number_feature(ee6d_names(arms)),
        STAMP: number_feature(['seconds'], 'float64'),
    }
    if episode.joints is not None:
        features[JOINTS] = number_feature(episode.joint_names)
    for name, image in zip(episode.cameras, episode.look(0), strict=True):
        features[IMAGES + name] = image_feature(image.shape, options.images, fps)
    return _Writer(
        folder=folder, options=options, fps=fps, features=features | automatic_features(),
        arms=arms, cameras=episode.cameras, commanded=episode.commanded is not None,
    )  # fmt: skip
