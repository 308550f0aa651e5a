# SPDX-License-Identifier: Apache-2.0
"""Reads the facts of a checkpoint, and which of its domain rows are trained."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.action_modes import action_mode
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.layouts import to_network
from xvla_ros.model.lora import Adapter
from xvla_ros.model.reading import read_config, WeightFiles
from xvla_ros.model.sources import find_sources
from xvla_ros.model.training_data import read_training_data, TrainingData
from xvla_ros.model.xvla import XVLA

HUB = 'transformer.soft_prompt_hub.weight'
ENCODER = 'transformer.action_encoder.{}.weight'
DECODER = 'transformer.action_decoder.{}.weight'


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainRow:
    """
    One domain's own parameters.

    trained: from `moved_rows`, None if the weights do not show it. `nearest` is the most similar
    other row and `cosine` their similarity.
    """

    domain_id: int
    trained: bool | None
    prompt_std: float
    encoder_std: float
    decoder_std: float
    nearest: int
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """
    A checkpoint's facts.

    adapter: its LoRA adapter, if any; weights and rows are then those of the base.
    similarity: (domains, domains), cosines between rows.
    """

    path: str
    adapter: str | None
    layout: str
    config: NetworkConfig
    data: TrainingData
    dim_action: int
    real_dim: int
    dim_proprio: int
    files: int
    bytes: int
    parameters: int
    parts: dict[str, int]
    dtypes: dict[str, int]
    rows: tuple[DomainRow, ...]
    similarity: NDArray[np.float32]


def inspect(path: str | Path) -> Inspection:
    """Read a checkpoint directory without building the network."""
    sources = find_sources(path)
    config = read_config(sources.settings)
    files = WeightFiles(sources.weights)
    mode = action_mode(config)
    sizes = {to_network(name): math.prod(shape) for name, shape in files.shapes.items()}
    parts: Counter[str] = Counter()
    for name, size in sizes.items():
        parts['.'.join(name.split('.')[:2])] += size
    rows, similarity = domain_rows(files)
    return Inspection(
        path=str(sources.given),
        adapter=None if sources.adapter is None else str(sources.adapter),
        layout=files.layout,
        config=config,
        data=read_training_data(sources.settings, config.view_slots),
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


def domain_rows(files: WeightFiles) -> tuple[tuple[DomainRow, ...], NDArray[np.float32]]:
    """Measure every domain's row and its similarity to the others."""
    names = {to_network(stored): stored for stored in files.shapes}

    def table(name: str) -> torch.Tensor:
        if name not in names:
            raise CheckpointError(f'{files.source}: tensor {name} missing')
        return files.tensor(names[name]).float()

    prompts = table(HUB)
    encoder, decoder = table(ENCODER.format('fc')), table(DECODER.format('fc'))
    moved = moved_rows(table(name) for name in domain_biases(names))
    similarity = row_similarity([prompts, encoder, decoder])
    others = similarity - 2.0 * np.eye(len(similarity))
    rows = tuple(
        DomainRow(
            domain_id=index,
            trained=None if moved is None else index in moved,
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
    Return the rows that may have been trained, or None if the weights do not show it.

    They do not show it either if an adapter was trained without the biases.

    :param adapter: the LoRA adapter that was merged into the network.
    """
    state = network.state_dict()
    names = domain_biases(state)
    if adapter is not None and not adapter.replaced.keys() & set(names):
        return None
    return moved_rows(state[name] for name in names)


def domain_biases(names: Iterable[str]) -> list[str]:
    """Return the network's tensors that are tables of biases with a row per domain."""
    return [n for n in names if n.startswith('transformer.') and n.endswith('.bias.weight')]


def moved_rows(biases: Iterable[torch.Tensor]) -> tuple[int, ...] | None:
    """
    Return the rows with any bias that is not exactly zero; None if all rows are zero.

    Biases start at zero and stay there for a domain that training never saw, because its gradient
    is zero and weight decay does not change a zero. Prompts show nothing, because decay shrinks
    every row. If no row has a bias, biases were not trained at all. Untrained rows are refused.

    :param biases: tables (domains, n), at least one.
    """
    moved = torch.cat(list(biases), dim=1).any(dim=1)
    return tuple(moved.nonzero().flatten().tolist()) or None


def row_similarity(tables: list[torch.Tensor]) -> NDArray[np.float32]:
    """Average the cosine between rows over several tables; untrained rows are near orthogonal."""
    units = [torch.nn.functional.normalize(table) for table in tables]
    cosines = torch.stack([unit @ unit.t() for unit in units])
    return cosines.mean(dim=0).numpy()
