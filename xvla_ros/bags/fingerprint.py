# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of a checkpoint: a hash of its files, independent of the folder."""

from collections.abc import Iterable
import hashlib
from pathlib import Path

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

# Files that affect the answers: configuration, tokenizer, image size, weights, LoRA settings.
PATTERNS = (
    *('config.json', 'preprocessor_config.json', 'processor_config.json', 'adapter_config.json'),
    *('tokenizer.json', 'vocab.json', 'merges.txt', 'added_tokens.json', '*.safetensors'),
)
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
    Find the folder of the checkpoint with a fingerprint; None if there is none.

    Searches its recorded path, in and beside the bag, and the bundled checkpoints.

    :param near: the bag.
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
