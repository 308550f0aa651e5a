# SPDX-License-Identifier: Apache-2.0
"""Find and read the files of a checkpoint directory, without building the network."""

from collections.abc import Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import struct
from typing import Any

from safetensors import safe_open, SafetensorError
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.config import NetworkConfig, parse_config
from xvla_ros.model.layouts import detect_layout

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: cannot be read as JSON: {error}') from error
    if not isinstance(data, dict):
        raise CheckpointError(f'{path}: expected a JSON object, got {type(data).__name__}')
    return data


def read_config(path: Path) -> NetworkConfig:
    """Read a checkpoint directory's `config.json`."""
    if not path.is_dir():
        raise CheckpointError(f'{path}: not a checkpoint directory')
    return parse_config(read_json(path / 'config.json'), str(path / 'config.json'))


class WeightFiles:
    """The tensors of one checkpoint directory, read lazily, in whatever layout they are."""

    def __init__(self, path: Path) -> None:
        self.files = weight_files(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self.owner: dict[str, Path] = {}
        for file in self.files:
            for name, stored in read_header(file).items():
                if name in self.shapes:
                    raise CheckpointError(f'{file}: tensor {name} is also in {self.owner[name]}')
                self.shapes[name], self.dtypes[name] = stored.shape, stored.dtype
                self.owner[name] = file
        self.layout = detect_layout(self.shapes)
        self.source = str(path)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every tensor once, with the name and dtype it is stored under."""
        for file in self.files:
            with safe_open(str(file), framework='pt') as handle:
                for name in handle.keys():  # noqa: SIM118 - not a dict
                    yield name, handle.get_tensor(name)

    def tensor(self, stored: str) -> torch.Tensor:
        """Read one tensor by the name it is stored under."""
        try:
            with safe_open(str(self.owner[stored]), framework='pt') as handle:
                return handle.get_tensor(stored)
        except SafetensorError as error:
            raise CheckpointError(f'{self.owner[stored]}: {stored}: {error}') from error


def weight_files(path: Path) -> tuple[Path, ...]:
    """Find the single weight file or the shards that the index names."""
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    if not (path / INDEX).is_file():
        raise CheckpointError(f'{path}: neither {WEIGHTS} nor {INDEX}; only safetensors is read')
    named = read_json(path / INDEX).get('weight_map')
    if not isinstance(named, dict) or not named:
        raise CheckpointError(f'{path / INDEX}: no weight_map')
    if not all(isinstance(name, str) for name in named.values()):
        raise CheckpointError(f'{path / INDEX}: weight_map names something else than files')
    shards = tuple(path / name for name in sorted(set(named.values())))
    for shard in shards:
        if shard.parent != path or not shard.is_file():
            raise CheckpointError(f'{shard}: missing, though {INDEX} names it')
    return shards


@dataclass(frozen=True, slots=True)
class Stored:
    """What a safetensors header says of one tensor."""

    shape: tuple[int, ...]
    dtype: str


def read_header(file: Path) -> dict[str, Stored]:
    """
    Read names, shapes and dtypes from a safetensors header.

    :raises CheckpointError: the file is cut; the first tensor beyond its end is named.
    """
    size = file.stat().st_size
    with file.open('rb') as stream:
        head = stream.read(8)
        length = struct.unpack('<Q', head)[0] if len(head) == 8 else size
        if 8 + length > size:
            raise CheckpointError(f'{file}: {size} bytes, cut inside its header')
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise CheckpointError(f'{file}: not safetensors: {error}') from error
    try:
        entries = {n: e for n, e in header.items() if n != '__metadata__'}
        ends = {name: 8 + length + int(e['data_offsets'][1]) for name, e in entries.items()}
        stored = {n: Stored(tuple(e['shape']), str(e['dtype'])) for n, e in entries.items()}
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f'{file}: not a safetensors header: {error!r}') from error
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        if end > size:
            raise CheckpointError(f'{file}: cut at byte {size}, inside tensor {name} (to {end})')
    return stored
