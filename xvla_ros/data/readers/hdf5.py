# SPDX-License-Identifier: Apache-2.0
"""Episodes in HDF5 files, one per file or group, and the meta files of X-VLA that list them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
import json
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
from xvla_ros.data.source import CameraKeys, Source

# Lengths of images that are padded to one size, by camera and frame (ALOHA).
LENGTHS = 'compress_len'
META_KEYS = ('datalist', 'observation_key', 'language_instruction_key')


def read(path: Path, source: Source, context: Context) -> Iterator[Result]:
    """
    Yield the episodes of a file, of a folder of files, or of those that a meta file lists.

    :raises DataError: a meta file lists none.
    """
    for file, told in _files(path, source):
        try:
            yield from _of_file(file, told, context)
        except (OSError, RuntimeError) as error:  # h5py's errors
            yield DataError(f'cannot be read: {error}', file=file)
        except DataError as error:
            yield error


def _files(path: Path, source: Source) -> Iterator[tuple[Path, Source]]:
    """Yield files with what is known of them."""
    if path.is_dir():
        found = sorted(p for p in path.rglob('*') if p.suffix in ('.h5', '.hdf5'))
        if not found:
            raise DataError('holds no .hdf5 or .h5 file', file=path, what='empty')
        yield from ((file, source) for file in found)
    elif path.suffix == '.json':
        yield from _of_meta(path, source)
    else:
        yield path, source


def _of_meta(path: Path, source: Source) -> Iterator[tuple[Path, Source]]:
    """Yield what a meta file of X-VLA lists; its keys hold where the source has none."""
    try:
        meta = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DataError(f'cannot be read: {error}', file=path) from error
    missing = [key for key in META_KEYS if key not in meta]
    if missing:
        raise DataError(f'is no meta file of X-VLA: has no {", ".join(missing)}', file=path)
    cameras = {key.rsplit('/', 1)[-1]: CameraKeys(key=key) for key in meta['observation_key']}
    told = replace(
        source,
        cameras=source.cameras or cameras,
        instruction_key=source.instruction_key or meta['language_instruction_key'],
    )
    for item in meta['datalist']:
        name = item if isinstance(item, str) else item[0]
        yield path.parent / name, told


def _of_file(file: Path, source: Source, context: Context) -> Iterator[Result]:
    if not file.is_file():
        raise DataError('no such file', file=file, what='missing')
    with h5py.File(file, 'r') as opened:
        names = _groups(opened, source.episodes)
    if not names:
        raise DataError(f"has no group '{source.episodes}'", file=file, what='empty')
    for index, name in enumerate(names):
        group = _Group(file, name, source)
        try:
            yield assemble(group.recording(index), source, context)
        except DataError as error:
            yield error


def _groups(opened: Any, pattern: str) -> list[str]:
    """Return the groups that are episodes, in the order of their numbers."""
    if not pattern:
        return ['/']
    parent, _, last = pattern.rpartition('/')
    found = [name for name in opened.get(parent or '/', {}) if fnmatch(name, last)]
    ordered = sorted(found, key=lambda name: (len(name), name))
    return [f'{parent}/{name}' for name in ordered]


@dataclass(frozen=True)
class _Group:
    """One episode in a file. Each read opens the file, because workers may be forked."""

    file: Path
    group: str
    source: Source

    def recording(self, index: int) -> Recording:
        """Return the episode, its images not yet decoded."""
        for name, keys in self.source.cameras.items():
            self._check_images(name, keys)
        return Recording(
            name=self.name,
            index=index,
            file=str(self.file),
            instruction=self._instruction(),
            table=self.rows,
            look=self.look,
            cameras=tuple(self.source.cameras),
        )

    @cached_property
    def name(self) -> str:
        """The name of the episode: of its group, or of the file."""
        return self.group.strip('/').rsplit('/', 1)[-1] or self.file.stem

    def _with(self, use: Callable[[Any], Any]) -> Any:
        with h5py.File(self.file, 'r') as opened:
            return use(opened[self.group])

    def rows(self, key: str) -> NDArray[Any]:
        """
        Return a dataset.

        :raises KeyError: there is none.
        """

        def take(group: Any) -> NDArray[Any]:
            if key not in group:
                raise KeyError(key)
            return np.asarray(group[key][()])

        rows: NDArray[Any] = self._with(take)
        return rows

    def _instruction(self) -> str:
        if self.source.instruction or not self.source.instruction_key:
            return self.source.instruction
        try:
            value = np.ravel(self.rows(self.source.instruction_key))
        except KeyError as error:
            raise self._error(f'has no {error.args[0]!r}', None, 'missing') from error
        first = value[0] if len(value) else ''
        return first.decode('utf-8', 'replace') if isinstance(first, bytes) else str(first)

    def _error(self, text: str, frame: int | None, what: str = 'damaged') -> DataError:
        return DataError(text, file=self.file, episode=self.name, frame=frame, what=what)

    def _check_images(self, name: str, keys: CameraKeys) -> None:
        """Look whether there are as many images as rows, without reading them."""
        first = next(iter(self.source.arms.values())).state
        column = (first.position or first.joints).partition('[')[0]

        def count(group: Any) -> tuple[int, int]:
            if keys.key not in group:
                raise self._error(f"camera {name}: has no '{keys.key}'", None, 'missing')
            rows = group.get(column)
            return len(group[keys.key]), len(rows) if rows is not None else -1

        images, rows = self._with(count)
        if 0 <= images < rows:
            raise self._error(
                f'camera {name}: has {images} images of {rows} frames', images, 'missing'
            )

    def look(self, frame: int) -> Images:
        """
        Return the images of a frame.

        :raises DataError: one is missing or cannot be decoded.
        """
        cameras = list(self.source.cameras.items())

        def take(group: Any) -> list[Any]:
            return [_element(group, keys.key, frame, i) for i, (_, keys) in enumerate(cameras)]

        images = []
        for (name, keys), element in zip(cameras, self._with(take), strict=True):
            try:
                images.append(stored_image(element, keys))
            except (ValueError, XvlaError) as error:
                raise self._error(f'camera {name}: {error}', frame, 'image') from error
        return tuple(images)


def _element(group: Any, key: str, frame: int, camera: int) -> Any:
    """Return a stored image without its padding."""
    element = group[key][frame]
    if LENGTHS in group and np.ndim(element) == 1:
        return element[: int(group[LENGTHS][camera, frame])]
    return element
