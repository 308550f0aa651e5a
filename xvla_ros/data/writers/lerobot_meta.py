# SPDX-License-Identifier: Apache-2.0
"""The features and meta files of a LeRobot v3.0 dataset."""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from xvla_ros.data.writers.encoding import LOSSLESS
from xvla_ros.data.writers.statistics import Statistics

STATE, ACTION, STAMP, JOINTS = (
    'observation.state', 'action', 'observation.stamp', 'observation.joints',
)  # fmt: skip
IMAGES = 'observation.images.'
# One number a frame, which LeRobot expects of every dataset.
AUTOMATIC = {
    'timestamp': 'float32',
    'frame_index': 'int64',
    'episode_index': 'int64',
    'index': 'int64',
    'task_index': 'int64',
}
DATA_PATH = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
VIDEO_PATH = 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
EPISODES_PATH = 'meta/episodes/chunk-000/file-000.parquet'
DATA_MB, VIDEO_MB, FILES_PER_CHUNK = 100, 200, 1000
PIXELS = {'av1': 'yuv420p', 'h264': 'yuv420p'}
Feature = dict[str, Any]


def number_feature(names: Sequence[str], dtype: str = 'float32') -> Feature:
    """Describe a feature of some numbers."""
    return {'dtype': dtype, 'shape': [len(names)], 'names': list(names)}


def image_feature(shape: tuple[int, ...], images: str, fps: int) -> Feature:
    """Describe a camera whose images are (H, W, 3)."""
    feature = {'dtype': 'video', 'shape': list(shape), 'names': ['height', 'width', 'channels']}
    if images == LOSSLESS:
        return feature | {'dtype': 'image'}
    info = {
        'video.height': shape[0],
        'video.width': shape[1],
        'video.codec': images,
        'video.pix_fmt': PIXELS[images],
        'video.is_depth_map': False,
        'video.fps': fps,
        'video.channels': 3,
        'has_audio': False,
    }
    return feature | {'info': info}


def automatic_features() -> dict[str, Feature]:
    """Return the features that every dataset has."""
    return {n: {'dtype': d, 'shape': [1], 'names': None} for n, d in AUTOMATIC.items()}


def data_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """Return the columns of the rows, with what Hugging Face's datasets reads of them."""
    fields, described = [], {}
    for key, feature in features.items():
        if feature['dtype'] == 'video':
            continue
        fields.append(pa.field(key, _column_type(feature)))
        described[key] = _described(feature)
    told = {b'huggingface': json.dumps({'info': {'features': described}}).encode()}
    return pa.schema(fields, metadata=told)


def _column_type(feature: Feature) -> pa.DataType:
    if feature['dtype'] == 'image':
        return pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    one = {'float32': pa.float32(), 'float64': pa.float64(), 'int64': pa.int64()}
    value, (size,) = one[feature['dtype']], feature['shape']
    return value if size == 1 else pa.list_(value, size)


def _described(feature: Feature) -> dict[str, Any]:
    if feature['dtype'] == 'image':
        return {'_type': 'Image'}
    value = {'dtype': feature['dtype'], '_type': 'Value'}
    (size,) = feature['shape']
    return value if size == 1 else {'feature': value, 'length': size, '_type': 'Sequence'}


def write_info(
    folder: Path, features: Mapping[str, Feature], robot: str, fps: int, counts: Mapping[str, int]
) -> None:
    """Write `meta/info.json`; counts: total_episodes, total_frames, total_tasks."""
    videos = any(feature['dtype'] == 'video' for feature in features.values())
    info = {
        'codebase_version': 'v3.0',
        'robot_type': robot,
        **counts,
        'chunks_size': FILES_PER_CHUNK,
        'data_files_size_in_mb': DATA_MB,
        'video_files_size_in_mb': VIDEO_MB,
        'fps': fps,
        'splits': {'train': f'0:{counts["total_episodes"]}'},
        'data_path': DATA_PATH,
        'video_path': VIDEO_PATH if videos else None,
        'features': dict(features),
    }
    _json(folder / 'meta' / 'info.json', info)


def write_statistics(folder: Path, statistics: Mapping[str, Statistics]) -> None:
    """Write `meta/stats.json`."""
    plain = {key: {n: v.tolist() for n, v in each.items()} for key, each in statistics.items()}
    _json(folder / 'meta' / 'stats.json', plain)


def _json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=4) + '\n', encoding='utf-8')


def write_tasks(folder: Path, tasks: Sequence[str]) -> None:
    """Write `meta/tasks.parquet`; to pandas the texts are the index."""
    columns = [
        {'name': name, 'field_name': name, 'pandas_type': kind, 'numpy_type': numpy_type,
         'metadata': None}
        for name, kind, numpy_type in (
            ('task_index', 'int64', 'int64'), ('task', 'unicode', 'object'),
        )
    ]  # fmt: skip
    told = {
        'index_columns': ['task'],
        'column_indexes': [],
        'columns': columns,
        'creator': {'library': 'pyarrow', 'version': pa.__version__},
        'pandas_version': '2.2.0',
    }
    schema = pa.schema(
        [('task_index', pa.int64()), ('task', pa.string())],
        metadata={b'pandas': json.dumps(told).encode()},
    )
    rows = {'task_index': list(range(len(tasks))), 'task': list(tasks)}
    parquet.write_table(pa.table(rows, schema=schema), folder / 'meta' / 'tasks.parquet')


def episode_row(facts: Mapping[str, Any], statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Return the row of an episode: its facts, and the statistics of its features."""
    row = dict(facts)
    for key, each in statistics.items():
        for name, values in each.items():
            row[f'stats/{key}/{name}'] = np.asarray(values).tolist()
    return row | {'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0}


def write_episodes(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `meta/episodes`."""
    file = folder / EPISODES_PATH
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(rows)), file)
