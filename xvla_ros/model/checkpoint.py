# SPDX-License-Identifier: Apache-2.0
"""
Loads a network from a checkpoint directory with strict checks, and writes one.

A directory holds `config.json`, `model.safetensors` (or shards with an index), `tokenizer.json`
and `preprocessor_config.json`. Weights may be stored in fp32, bf16 or fp16 and are cast on load.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.florence import tie_embeddings
from xvla_ros.model.layouts import (
    EMBED,
    from_network,
    is_transposed,
    LOGITS_BIAS,
    SHARED,
    stored_tensor,
    to_network,
)
from xvla_ros.model.lora import Adapter
from xvla_ros.model.reading import WeightFiles, WEIGHTS
from xvla_ros.model.xvla import XVLA

# Dtypes of stored weights, by safetensors' names.
DTYPES = ('F64', 'F32', 'F16', 'BF16')


def load_network(
    path: Path, config: NetworkConfig, dtype: torch.dtype, adapter: Adapter | None = None
) -> XVLA:
    """
    Build the network and fill it from a directory, in any layout.

    :param adapter: a LoRA adapter to merge.
    :raises CheckpointError: a tensor is missing, unknown, of a wrong shape or not finite; the
        message names it.
    """
    with torch.device('meta'):
        network = XVLA(config)
    state = read_state(WeightFiles(path), network, dtype, adapter)
    network.load_state_dict(state, assign=True)
    tie_embeddings(network.vlm)
    return network.eval().requires_grad_(False)


def read_state(
    files: WeightFiles,
    network: XVLA,
    dtype: torch.dtype | None = None,
    adapter: Adapter | None = None,
) -> dict[str, torch.Tensor]:
    """Read all tensors by the network's names, and check them against the network's shapes."""
    check_names(files, {name: tuple(t.shape) for name, t in network.state_dict().items()})
    try:
        state = dict(network_tensors(files, dtype, adapter))
    except SafetensorError as error:
        raise CheckpointError(f'{files.source}: {error}') from error
    if adapter is not None:
        adapter.check_used()
    # check_names saw one of the two.
    state = {SHARED: state[EMBED]} | state if EMBED in state else {EMBED: state[SHARED]} | state
    if not torch.equal(state[SHARED], state[EMBED]):
        raise CheckpointError(f'{files.source}: {SHARED} and {EMBED} differ, but X-VLA ties them')
    return state


def network_tensors(
    files: WeightFiles, dtype: torch.dtype | None = None, adapter: Adapter | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors by the network's names, transposed and cast as needed, without UNUSED."""
    for stored, tensor in files.tensors():
        name = to_network(stored)
        if name == LOGITS_BIAS:
            continue
        tensor = stored_tensor(name, tensor, files.layout)
        if adapter is not None:
            tensor = adapter.merged(name, tensor)
        if not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
            merged = '' if adapter is None else f' with the adapter {adapter.source}'
            raise CheckpointError(f'{files.owner[stored]}: tensor {stored} is not finite{merged}')
        yield name, tensor.to(dtype or tensor.dtype).contiguous()


def check_names(files: WeightFiles, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare stored tensors with the network's; one alias of the embedding is enough."""
    found = {to_network(name): name for name in files.shapes}
    twice = sorted(set(files.shapes) - set(found.values()))
    if twice:
        other = found[to_network(twice[0])]
        raise CheckpointError(f'{files.source}: {twice[0]} and {other} are the same tensor')
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
        shape, dtype = files.shapes[stored], files.dtypes[stored]
        if dtype not in DTYPES:
            expected_dtypes = ', '.join(DTYPES)
            raise CheckpointError(
                f'{files.source}: tensor {stored} is {dtype}, expected {expected_dtypes}'
            )
        shape = shape[::-1] if is_transposed(name, files.layout) else shape
        if name in expected and shape != expected[name]:
            raise CheckpointError(
                f'{files.source}: tensor {stored} is {shape}, config.json says {expected[name]}'
            )


def save_network(path: Path, network: XVLA, layout: str, dtype: torch.dtype | None = None) -> None:
    """Write `model.safetensors` atomically, in a layout, with one alias of the tied embedding."""
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
