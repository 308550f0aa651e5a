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
    :raises ConfigError: it is not found; the message lists the places.
    """
    places = shared_places(kind, path)
    for place in places:
        if place.exists():
            return place
    raise ConfigError(f'{path}: no such file; looked for {", ".join(str(p) for p in places)}')


def shared_places(kind: str, path: str | Path) -> list[Path]:
    """Return the possible places of a package file; for an absolute path only itself."""
    return [Path(path)] if Path(path).is_absolute() else [r / kind / path for r in _roots()]


def _roots() -> Iterator[Path]:
    """Yield the roots: inside a wheel, the checkout, the share folder of each install prefix."""
    package = Path(__file__).resolve().parents[1]
    yield package / 'share'  # only in a wheel, see setup.py
    yield package.parent
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in filter(None, (*prefixes, sys.prefix)):
        yield Path(prefix) / 'share' / PACKAGE
