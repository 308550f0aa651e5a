# SPDX-License-Identifier: Apache-2.0
"""Finds and reads the files of a checkpoint directory, without building the network."""

from collections.abc import Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Any

from safetensors import safe_open, SafetensorError
import torch

from xvla_ros.core.checkpoints import ADAPTER_CONFIG, CONFIG
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.config import NetworkConfig, parse_config
from xvla_ros.model.layouts import detect_layout

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
# File with this project's block of config.json, beside a config for LeRobot, which refuses
# unknown keys.
OWN = 'xvla_ros.json'
# Beginning of every Git LFS pointer (git-lfs, docs/spec.md).
LFS_POINTER = b'version https://git-lfs'
# Parts that torch.compile, FSDP and DDP add to the names of a network's tensors.
TRAINING_WRAPPERS = re.compile(r'^(module\.)+|(?<![^.])(_orig_mod|_fsdp_wrapped_module)\.')
PEFT_PREFIX = 'base_model.model.'


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, with a byte order mark or without."""
    check_readable(path)
    try:
        data = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: cannot be read as JSON: {error}') from error
    if not isinstance(data, dict):
        raise CheckpointError(f'{path}: expected a JSON object, got {type(data).__name__}')
    return data


def read_config(path: Path) -> NetworkConfig:
    """Read a checkpoint directory's `config.json`."""
    if not path.is_dir():
        raise CheckpointError(f'{path}: not a checkpoint directory')
    data = read_json(path / CONFIG)
    if (path / OWN).is_file():
        data['xvla_ros'] = {**data.get('xvla_ros', {}), **read_json(path / OWN)}
    return parse_config(data, str(path / CONFIG))


def has_weights(path: Path) -> bool:
    """Say whether a directory holds the tensors of a whole network."""
    return any((path / name).is_file() for name in (WEIGHTS, INDEX))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One tensor's entry in the header of a safetensors file."""

    shape: tuple[int, ...]
    dtype: str


class WeightFiles:
    """
    The tensors of one checkpoint directory, read on demand.

    `shapes`, `dtypes` and `owner` (the file) are by stored name, in any layout, without the parts
    that training wrappers add.
    """

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        self.files = weight_files(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self.owner: dict[str, Path] = {}
        self._written: dict[str, str] = {}
        for file in self.files:
            for name, stored in read_header(file).items():
                self._add(file, name, stored)
        self.layout = detect_layout(self.shapes)

    def _add(self, file: Path, written: str, stored: Stored) -> None:
        """Add one tensor by its plain name."""
        name = plain_name(written, file)
        if name in self.shapes:
            raise CheckpointError(f'{file}: tensor {name} is also in {self.owner[name]}')
        self.shapes[name], self.dtypes[name] = stored.shape, stored.dtype
        self.owner[name], self._written[name] = file, written

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every tensor once with its name, in its stored dtype."""
        for file in self.files:
            with safe_open(str(file), framework='pt') as handle:
                for name in [n for n, owner in self.owner.items() if owner == file]:
                    yield name, handle.get_tensor(self._written[name])

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        try:
            with safe_open(str(self.owner[name]), framework='pt') as handle:
                found: torch.Tensor = handle.get_tensor(self._written[name])
                return found
        except SafetensorError as error:
            raise CheckpointError(f'{self.owner[name]}: {name}: {error}') from error


def plain_name(written: str, file: Path) -> str:
    """Return a tensor's name without the parts that training wrappers add."""
    if written.startswith(PEFT_PREFIX):
        raise CheckpointError(
            f'{file}: tensor {written} belongs to a whole PEFT model (base_model.model.*); '
            "expected the result of PEFT's merge_and_unload(), or the base and its adapter apart"
        )
    return TRAINING_WRAPPERS.sub('', written)


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the single weight file, or the shards in the index."""
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    if (path / ADAPTER_CONFIG).is_file() and not has_weights(path):
        raise CheckpointError(
            f'{path}: is a LoRA adapter without its base; merge them first (xvla convert)'
        )
    if not (path / INDEX).is_file():
        raise CheckpointError(
            f'{path}: neither {WEIGHTS} nor {INDEX}; only safetensors is read, no pickled weights'
        )
    named = read_json(path / INDEX).get('weight_map')
    if not isinstance(named, dict) or not named:
        raise CheckpointError(f'{path / INDEX}: no weight_map')
    if not all(isinstance(name, str) for name in named.values()):
        raise CheckpointError(f'{path / INDEX}: weight_map holds values that are no file names')
    shards = tuple(path / name for name in sorted(set(named.values())))
    for shard in shards:
        if shard.parent != path or not shard.is_file():
            raise CheckpointError(f'{shard}: missing, though {INDEX} names it')
    return shards


def read_header(file: Path) -> dict[str, Stored]:
    """
    Read names, shapes and dtypes of a safetensors file, without its weights.

    :raises CheckpointError: the file is cut, too long, or not a safetensors file.
    """
    check_readable(file)
    try:
        with safe_open(str(file), framework='pt') as handle:
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
            return {
                name: Stored(shape=tuple(part.get_shape()), dtype=part.get_dtype())
                for name, part in slices.items()
            }
    except SafetensorError as error:
        raise CheckpointError(
            f'{file}: {file.stat().st_size} bytes, cut or not safetensors ({error}); '
            'expected the whole file: copy or download it again'
        ) from error


def check_readable(file: Path) -> None:
    """
    Refuse a file that is missing, or a Git LFS pointer whose file was not fetched.

    :raises CheckpointError: the message names the file and says what to do.
    """
    if not file.is_file():
        raise CheckpointError(f'{file}: missing')
    with file.open('rb') as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise CheckpointError(
                f'{file}: is a Git LFS pointer, not the file itself; run `git lfs pull` in '
                f'{file.parent}, or download the file'
            )
