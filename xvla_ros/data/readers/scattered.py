# SPDX-License-Identifier: Apache-2.0
"""Episodes as folders: numbers in an HDF5 file, each image a file of its own (AGIWorld)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import XvlaError
from xvla_ros.data.assembly import assemble, Recording
from xvla_ros.data.context import Context, Result
from xvla_ros.data.episodes import Images
from xvla_ros.data.errors import DataError
from xvla_ros.data.images import stored_image
from xvla_ros.data.source import Source

FRAME = '{frame}'


def read(path: Path, source: Source, context: Context) -> Iterator[Result]:
    """
    Yield the episodes below a folder: each folder that holds the table is one.

    :raises DataError: there is none.
    """
    tables = sorted(path.rglob(source.table))
    if not tables:
        raise DataError(f"holds no folder with '{source.table}'", file=path, what='empty')
    for index, table in enumerate(tables):
        try:
            yield assemble(_recording(table, index, source), source, context)
        except DataError as error:
            yield error
        except (OSError, RuntimeError) as error:  # h5py's errors
            yield DataError(f'cannot be read: {error}', file=table)


def _recording(table: Path, index: int, source: Source) -> Recording:
    folder = table.parent
    _check_images(folder, source)
    return Recording(
        name=folder.name,
        index=index,
        file=str(table),
        instruction=source.instruction,
        table=lambda key: _rows(table, key),
        look=_look(folder, source),
        cameras=tuple(source.cameras),
    )


def _rows(file: Path, key: str) -> NDArray[Any]:
    with h5py.File(file, 'r') as opened:
        if key not in opened:
            raise KeyError(key)
        return np.asarray(opened[key][()])


def _check_images(folder: Path, source: Source) -> None:
    """
    Look whether each row of the table has its images.

    :raises DataError: an image is missing.
    """
    keys = next(iter(source.arms.values())).state
    rows = _rows(folder / source.table, (keys.position or keys.joints).partition('[')[0])
    for frame in range(len(rows)):
        for name, camera in source.cameras.items():
            file = folder / camera.key.replace(FRAME, str(frame))
            if not file.is_file():
                raise DataError(
                    f'camera {name}: no such image', file=file, episode=folder.name,
                    frame=frame, what='missing',
                )  # fmt: skip


def _look(folder: Path, source: Source) -> Callable[[int], Images]:
    def image(name: str, frame: int) -> NDArray[np.uint8]:
        keys = source.cameras[name]
        file = folder / keys.key.replace(FRAME, str(frame))
        try:
            return stored_image(file.read_bytes(), keys)
        except (OSError, ValueError, XvlaError) as error:
            raise DataError(
                f'camera {name}: {error}', file=file, episode=folder.name, frame=frame,
                what='image',
            ) from error  # fmt: skip

    return lambda frame: tuple(image(name, frame) for name in source.cameras)
