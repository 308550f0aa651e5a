# SPDX-License-Identifier: Apache-2.0
"""How much memory training is expected to take, before it begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.optimisation import LORA, parameters_of
from xvla_ros.adapt.trainer.stages import Stage
from xvla_ros.model.config import NetworkConfig

FLOAT = 4
# Numbers kept for the backward pass per token, layer and unit of width, with fused attention: from
# 0.22, 0.04 and 0.26 GB in bfloat16 per sample of the 0.9 B network (head, BART, DaViT per view).
HEAD, WORDS, TOWER = 17, 16, 21


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Expected bytes of one stage on one processor or GPU, without the framework's own."""

    weights: int
    gradients: int
    optimiser: int
    copies: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.gradients + self.optimiser + self.copies + self.activations

    def __str__(self) -> str:
        """Return the estimate as text."""
        names = ('weights', 'gradients', 'optimiser', 'copies', 'activations')
        parts = ', '.join(f'{name} {getattr(self, name) / 1e9:.2f}' for name in names)
        return f'{self.total / 1e9:.2f} GB ({parts})'


def expected(
    student: Student, stage: Stage, batch: int, size: tuple[int, int], mean: bool = False
) -> Memory:
    """
    Return what a stage is expected to take.

    :param batch: samples per step and process. size: height and width of images. mean: a running
        mean of the weights is kept.
    """
    parts = parameters_of(student.network, student.heads)
    sizes = {part: [p.numel() for p in named.values()] for part, named in parts.items()}
    everything = sum(map(sum, sizes.values()))
    trained = sum(trained_size(parts[part], part, stage) for part in stage.rates)
    bfloat16 = student.dtype == torch.bfloat16
    return Memory(
        weights=FLOAT * everything * (2 if mean else 1),
        gradients=FLOAT * trained,
        optimiser=2 * FLOAT * trained,
        copies=2 * everything if bfloat16 else 0,
        activations=batch * activations(student, stage, size),
    )


def trained_size(named: Mapping[str, torch.nn.Parameter], part: str, stage: Stage) -> int:
    """Return how many numbers of a part a stage trains."""
    lora = stage.lora and part in ('core', 'vlm')
    return sum(p.numel() for name, p in named.items() if not lora or LORA in name)


def activations(student: Student, stage: Stage, size: tuple[int, int]) -> int:
    """Return the bytes that one sample leaves for the backward pass."""
    config = student.network.config
    maps = map_sizes(config, size)
    view = maps[-1] + 1
    words = view + config.text_length
    context = words + (config.view_slots - 1) * view + config.len_soft_prompts
    head = HEAD * (config.num_actions + context) * config.depth * config.hidden_size
    if student.checkpointing:
        head = head * 3 // config.depth  # inputs of all blocks, and one block at a time
    itemsize = 2 if student.dtype == torch.bfloat16 else FLOAT
    return itemsize * (head + (encoder(config, maps, words) if 'vlm' in stage.rates else 0))


def encoder(config: NetworkConfig, maps: Sequence[int], words: int) -> int:
    """Return the numbers that the encoder keeps for one sample with an image in each slot."""
    text, vision = config.florence['text_config'], config.florence['vision_config']
    widths = vision.get('embed_dim') or vision['dim_embed']
    blocks = [2 * depth for depth in vision['depths']]
    tower: int = sum(m * w * b for m, w, b in zip(maps, widths, blocks, strict=True))
    bart: int = words * text['encoder_layers'] * text['d_model']
    return config.view_slots * TOWER * tower + WORDS * bart


def map_sizes(config: NetworkConfig, size: tuple[int, int]) -> list[int]:
    """Return how many cells the map of each stage of the vision tower has."""
    vision, (height, width) = config.florence['vision_config'], size
    cells = []
    for stride in vision['patch_stride']:
        height, width = -(-height // stride), -(-width // stride)
        cells.append(height * width)
    return cells
