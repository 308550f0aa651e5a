# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is, and which of its domain rows are trained."""

from collections import Counter
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.action_modes import action_mode
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.head import DomainAwareLinear
from xvla_ros.model.layouts import to_network
from xvla_ros.model.lora import Adapter
from xvla_ros.model.reading import read_config, WeightFiles
from xvla_ros.model.xvla import XVLA

HUB = 'transformer.soft_prompt_hub.weight'
ENCODER = 'transformer.action_encoder.{}.weight'
DECODER = 'transformer.action_decoder.{}.weight'
# Initial spread of the soft prompts (models/transformer.py).
PROMPT_STD = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainRow:
    """
    One domain's own parameters.

    A row that training never saw keeps its initial values, because its gradient is exactly zero:
    biases of zero, or prompts whose spread is still that of the initialisation. `nearest` is the
    most similar other row and `cosine` how similar.
    """

    domain_id: int
    trained: bool
    prompt_std: float
    encoder_std: float
    decoder_std: float
    nearest: int
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A checkpoint's facts; `similarity` is (domains, domains), cosines between rows."""

    path: str
    layout: str
    config: NetworkConfig
    dim_action: int
    real_dim: int
    dim_proprio: int
    files: int
    bytes: int
    parameters: int
    parts: dict[str, int]
    dtypes: dict[str, int]
    rows: tuple[DomainRow, ...]
    similarity: np.ndarray


def inspect(path: str | Path) -> Inspection:
    """Read a checkpoint directory without building the network."""
    path = Path(path)
    config = read_config(path)
    files = WeightFiles(path)
    mode = action_mode(config)
    sizes = {to_network(name): math.prod(shape) for name, shape in files.shapes.items()}
    parts = Counter()
    for name, size in sizes.items():
        parts['.'.join(name.split('.')[:2])] += size
    rows, similarity = domain_rows(files)
    return Inspection(
        path=str(path),
        layout=files.layout,
        config=config,
        dim_action=mode.dim,
        real_dim=mode.real_dim,
        dim_proprio=mode.dim_proprio if config.dim_proprio is None else config.dim_proprio,
        files=len(files.files),
        bytes=sum(file.stat().st_size for file in files.files),
        parameters=sum(sizes.values()),
        parts=dict(parts),
        dtypes=dict(Counter(files.dtypes.values())),
        rows=rows,
        similarity=similarity,
    )


def domain_rows(files: WeightFiles) -> tuple[tuple[DomainRow, ...], np.ndarray]:
    """Measure every domain's row and how similar it is to the others."""
    names = {to_network(stored): stored for stored in files.shapes}

    def table(name: str) -> torch.Tensor:
        if name not in names:
            raise CheckpointError(f'{files.source}: tensor {name} missing')
        return files.tensor(names[name]).float()

    prompts = table(HUB)
    encoder, decoder = table(ENCODER.format('fc')), table(DECODER.format('fc'))
    biases = torch.cat([table(ENCODER.format('bias')), table(DECODER.format('bias'))], dim=1)
    similarity = row_similarity([prompts, encoder, decoder])
    others = similarity - 2.0 * np.eye(len(similarity))
    rows = tuple(
        DomainRow(
            domain_id=index,
            trained=bool((biases[index] != 0).any()) and is_moved(prompts[index]),
            prompt_std=prompts[index].std().item(),
            encoder_std=encoder[index].std().item(),
            decoder_std=decoder[index].std().item(),
            nearest=int(others[index].argmax()),
            cosine=float(others[index].max()),
        )
        for index in range(len(prompts))
    )
    return rows, similarity


def trained_domains(network: XVLA, adapter: Adapter | None = None) -> tuple[int, ...] | None:
    """
    Return the rows that may have been trained, or None where the weights cannot tell.

    Stricter than `DomainRow.trained`, because a robot is refused by it. A row counts as untrained
    only while all its biases are exactly zero, as they started: its gradient was zero, and weight
    decay leaves a zero alone. Prompts prove nothing here, decay shrinks those of every row. Where
    no row has a bias, or an adapter was trained without them, biases were not trained at all.

    :param adapter: the LoRA adapter that was merged into the network.
    """
    layers = {
        f'transformer.{name}.bias.weight': layer.bias.weight
        for name, layer in network.transformer.named_modules()
        if isinstance(layer, DomainAwareLinear)
    }
    if adapter is not None and not layers.keys() & adapter.replaced.keys():
        return None
    moved = torch.cat(list(layers.values()), dim=1).any(dim=1)
    return tuple(moved.nonzero().flatten().tolist()) or None


def is_moved(prompts: torch.Tensor) -> bool:
    """Say whether a row's prompts spread otherwise than the N(0, 0.02) they start from."""
    error = PROMPT_STD / math.sqrt(2 * prompts.numel())  # standard error of a spread
    return abs(prompts.std().item() - PROMPT_STD) > 4 * error


def row_similarity(tables: list[torch.Tensor]) -> np.ndarray:
    """Average the cosine between rows over several tables; untrained rows are near orthogonal."""
    total = sum(unit @ unit.t() for unit in (torch.nn.functional.normalize(t) for t in tables))
    return (total / len(tables)).numpy()
