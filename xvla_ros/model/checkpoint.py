# SPDX-License-Identifier: Apache-2.0
"""
Read and write checkpoint directories, strictly.

A directory holds `config.json`, `model.safetensors` (or shards with an index), `tokenizer.json` and
`preprocessor_config.json`. Weights may be stored in fp32, bf16 or fp16 and are cast on load.
"""

from collections.abc import Iterator, Mapping
import json
from pathlib import Path
import struct
from typing import Any

from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.config import NetworkConfig, parse_config
from xvla_ros.model.florence import tie_embeddings
from xvla_ros.model.layouts import (
    detect_layout,
    EMBED,
    from_network,
    is_transposed,
    LOGITS_BIAS,
    SHARED,
    stored_tensor,
    to_network,
)
from xvla_ros.model.xvla import XVLA

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
        self.owner: dict[str, Path] = {}
        for file in self.files:
            for name, shape in header_shapes(file).items():
                if name in self.shapes:
                    raise CheckpointError(f'{file}: tensor {name} is also in {self.owner[name]}')
                self.shapes[name], self.owner[name] = shape, file
        self.layout = detect_layout(self.shapes)
        self.source = str(path)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every tensor once, with the name and dtype it is stored under."""
        for file in self.files:
            with safe_open(str(file), framework='pt') as handle:
                for name in handle.keys():  # noqa: SIM118 - not a dict
                    yield name, handle.get_tensor(name)


def weight_files(path: Path) -> tuple[Path, ...]:
    """Find the single weight file or the shards that the index names."""
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    if not (path / INDEX).is_file():
        raise CheckpointError(f'{path}: neither {WEIGHTS} nor {INDEX}; only safetensors is read')
    named = read_json(path / INDEX).get('weight_map')
    if not isinstance(named, dict) or not named:
        raise CheckpointError(f'{path / INDEX}: no weight_map')
    shards = tuple(path / name for name in sorted(set(named.values())))
    for shard in shards:
        if shard.parent != path or not shard.is_file():
            raise CheckpointError(f'{shard}: missing, though {INDEX} names it')
    return shards


def header_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """
    Read names and shapes from a safetensors header.

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
    header.pop('__metadata__', None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]['data_offsets']):
        end = 8 + length + entry['data_offsets'][1]
        if end > size:
            raise CheckpointError(f'{file}: cut at byte {size}, inside tensor {name} (to {end})')
    return {name: tuple(entry['shape']) for name, entry in header.items()}


def load_network(path: Path, config: NetworkConfig, dtype: torch.dtype) -> XVLA:
    """
    Build the network and fill it from a directory, in any layout.

    :raises CheckpointError: a tensor is missing, unknown, misshapen or not finite; it is named.
    """
    files = WeightFiles(path)
    with torch.device('meta'):
        network = XVLA(config)
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    check_names(files, expected)
    try:
        state = dict(network_tensors(files, dtype))
    except SafetensorError as error:
        raise CheckpointError(f'{path}: {error}') from error
    state.setdefault(SHARED, state.get(EMBED))
    state.setdefault(EMBED, state[SHARED])
    network.load_state_dict(state, assign=True)
    tie_embeddings(network.vlm)
    return network.eval().requires_grad_(False)


def network_tensors(
    files: WeightFiles, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors under the network's names, oriented and cast, without the unused one."""
    for stored, tensor in files.tensors():
        name = to_network(stored)
        if name == LOGITS_BIAS:
            continue
        if not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
            raise CheckpointError(f'{files.owner[stored]}: tensor {stored} is not finite')
        tensor = stored_tensor(name, tensor, files.layout)
        yield name, tensor.to(dtype or tensor.dtype).contiguous()


def check_names(files: WeightFiles, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare what is stored with what the network has; either alias of the embedding will do."""
    found = {to_network(name): name for name in files.shapes}
    tied = {SHARED, EMBED}
    missing = [name for name in expected if name not in found and name not in tied]
    if not tied & set(found):
        missing.append(SHARED)
    extra = [stored for name, stored in found.items() if name not in {*expected, LOGITS_BIAS}]
    for kind, names in (
        ('missing', [from_network(n, files.layout) for n in missing]),
        ('not part of the network', extra),
    ):
        if names:
            more = f' and {len(names) - 1} more' if len(names) > 1 else ''
            raise CheckpointError(f'{files.source}: tensor {min(names)}{more} {kind}')
    for name, stored in found.items():
        shape = files.shapes[stored]
        shape = shape[::-1] if is_transposed(name, files.layout) else shape
        if name in expected and shape != expected[name]:
            raise CheckpointError(
                f'{files.source}: tensor {stored} is {shape}, config.json says {expected[name]}'
            )


def save_network(path: Path, network: XVLA, layout: str, dtype: torch.dtype | None = None) -> None:
    """Write `model.safetensors` in a layout, one alias of the tied embedding, atomically."""
    write_weights(path, network.state_dict(), layout, dtype)


def write_weights(
    path: Path,
    state: Mapping[str, torch.Tensor],
    layout: str,
    dtype: torch.dtype | None = None,
) -> None:
    """Write tensors with the network's names in a layout."""
    dropped = SHARED if layout == 'lerobot' else EMBED
    stored = {
        from_network(name, layout): stored_tensor(name, t, layout).to(dtype or t.dtype)
        for name, t in state.items()
        if name != dropped
    }
    if layout != 'native':
        rows = state[SHARED].shape[0]
        name = from_network(LOGITS_BIAS, layout)
        stored[name] = torch.zeros(1, rows, dtype=dtype or state[SHARED].dtype)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
    partial = path / f'{WEIGHTS}.partial'
    save_file(stored, str(partial), metadata={'format': 'pt'})
    partial.replace(path / WEIGHTS)
