# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of a checkpoint: what it is, wherever it lies."""

from collections.abc import Iterable
import hashlib
from pathlib import Path

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

# What the answers depend on: configuration, tokenizer, image size, weights.
PATTERNS = ('config.json', 'preprocessor_config.json', 'tokenizer.json', '*.safetensors')
BLOCK = 2**22


def fingerprint(checkpoint: Path) -> str:
    """
    Return the SHA-256 of a checkpoint's files and their names, in hexadecimal.

    :raises ConfigError: the folder holds no checkpoint.
    """
    files = sorted({file for pattern in PATTERNS for file in checkpoint.glob(pattern)})
    if not files:
        raise ConfigError(f'{checkpoint}: holds no checkpoint (no {" or ".join(PATTERNS)})')
    digest = hashlib.sha256()
    for file in files:
        digest.update(f'{file.name}\n{file.stat().st_size}\n'.encode())
        with file.open('rb') as opened:
            while block := opened.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def find_checkpoint(wanted: str, recorded_path: str, near: Path) -> Path | None:
    """
    Return a folder with the checkpoint of a fingerprint: where it was, beside the bag, or bundled.

    :param near: the bag; a checkpoint in it or beside it was put there to travel with it.
    """
    for folder in _candidates(recorded_path, near):
        if (folder / 'config.json').is_file() and fingerprint(folder) == wanted:
            return folder
    return None


def _candidates(recorded_path: str, near: Path) -> Iterable[Path]:
    if recorded_path:
        yield Path(recorded_path)
    for parent in (near, near.parent):
        if parent.is_dir():
            yield from sorted(child for child in parent.iterdir() if child.is_dir())
    try:
        yield from sorted(p for p in shared_file('resource', '').iterdir() if p.is_dir())
    except ConfigError:
        return
