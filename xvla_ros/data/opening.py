# SPDX-License-Identifier: Apache-2.0
"""Opens what a user names as data, and reads its episodes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from glob import glob
from importlib import import_module
from pathlib import Path

from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.data.context import Context, Result
from xvla_ros.data.episodes import Episode
from xvla_ros.data.errors import DataError
from xvla_ros.data.source import BESIDE, HDF5, LEROBOT, load_source, ROSBAG, SCATTERED, Source

Reader = Callable[[Path, Source, Context], Iterator[Result]]
# Only the libraries of the format that is read are loaded.
READERS = {ROSBAG: 'rosbag', LEROBOT: 'lerobot', HDF5: 'hdf5', SCATTERED: 'scattered'}
BAG_FILES = ('metadata.yaml', '*.mcap', '*.db3', '*.mcap.zstd', '*.db3.zstd')


def open_source(data: str | Path, description: str = '') -> Source:
    """
    Return the source that a user names.

    :param data: a source file, a bag or a folder of bags, or data that a description is beside.
    :param description: a source file or the name of a shipped one that says what `data` means.
    :raises ConfigError: there is nothing, or nothing says what it means.
    """
    path = Path(data)
    if description:
        return replace(load_source(description), paths=(str(path),))
    if path.suffix in ('.yaml', '.yml') and path.name != 'metadata.yaml':
        return load_source(path)
    if not path.exists():
        raise ConfigError(f'{path}: no such file or folder')
    if (path / BESIDE).is_file():
        return load_source(path / BESIDE)
    if bags_in(path):
        return Source(format=ROSBAG, paths=(str(path),))
    raise ConfigError(
        f'{path}: nothing says what its numbers mean: expected a source file (docs/data.md), '
        'a bag, or --as with the name of a description'
    )


def bags_in(path: Path) -> list[Path]:
    """Return the bag that a path is, or the bags in its folders."""
    if path.is_file():
        return [path] if any(path.match(pattern) for pattern in BAG_FILES) else []
    if _holds_bag(path):
        return [path]
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _holds_bag(folder)]


def _holds_bag(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in BAG_FILES)


def read_all(source: Source, context: Context) -> Iterator[Result]:
    """
    Yield all episodes of a source, and an error for each that cannot be used.

    :raises ConfigError: the source names nothing.
    """
    reader: Reader = import_module(f'xvla_ros.data.readers.{READERS[source.format]}').read
    for path in source_paths(source):
        try:
            yield from reader(path, source, context)
        except DataError as error:
            yield error
        except XvlaError as error:
            yield DataError(str(error), what='unreadable')


def source_paths(source: Source) -> list[Path]:
    """
    Return the files or folders that a source names.

    :raises ConfigError: one names nothing, or there are none.
    """
    found: list[Path] = []
    for name in source.paths:
        places = sorted(glob(name, recursive=True)) or [name]
        for place in map(Path, places):
            if not place.exists():
                raise ConfigError(f'{place}: no such file or folder')
            found += (bags_in(place) or [place]) if source.format == ROSBAG else [place]
    if not found:
        raise ConfigError('the source names no paths: give them as `paths:`')
    return found


def load_episodes(source: Source, context: Context) -> list[Episode]:
    """
    Return all episodes of a source.

    :raises DataError: the first that is wrong, with file, episode and frame.
    """
    episodes = []
    for result in read_all(source, context):
        if isinstance(result, DataError):
            raise result
        episodes.append(result)
    if not episodes:
        raise ConfigError(f'{", ".join(source.paths)}: holds no episode')
    return episodes
