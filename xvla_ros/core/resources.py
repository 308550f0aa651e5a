# SPDX-License-Identifier: Apache-2.0
"""Files that come with the package, from a checkout or an installation."""

from collections.abc import Iterator
import os
from pathlib import Path
import sys

from xvla_ros.core.errors import ConfigError

PACKAGE = 'xvla_ros'


def shared_file(kind: str, path: str | Path) -> Path:
    """
    Return a file or folder of the package; an absolute path as it is.

    :param kind: top-level folder it belongs to: 'resource' or 'config'.
    :raises ConfigError: it is in none of the places, which the message lists.
    """
    places = (
        [Path(path)] if Path(path).is_absolute() else [root / kind / path for root in _roots()]
    )
    for place in places:
        if place.exists():
            return place
    raise ConfigError(f'{path}: no such file; looked for {", ".join(str(p) for p in places)}')


def checkpoint_folder(path: Path) -> Path:
    """Return the folder of a checkpoint, which may be one that comes with the package."""
    return path if path.exists() else shared_file('resource', path)


def _roots() -> Iterator[Path]:
    """Yield the checkout, then the share folder of every installation prefix."""
    yield Path(__file__).resolve().parents[2]
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in filter(None, (*prefixes, sys.prefix)):
        yield Path(prefix) / 'share' / PACKAGE
