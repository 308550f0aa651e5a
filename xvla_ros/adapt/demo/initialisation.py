# SPDX-License-Identifier: Apache-2.0
"""
Start a small network at the scale of metres.

X-VLA has no action statistics: targets vary by centimetres while the noise has unit variance, and
the reference's initial weights make the thirty anchors nearly indistinguishable. A large pre-
trained model has learnt this away; a small one that starts from nothing wastes its time on it.
Only initial values change here, no architecture.
"""

from collections.abc import Sequence
import math

import numpy as np
import torch

from xvla_ros.adapt.demo.samples import Samples
from xvla_ros.model.head import SoftPromptedTransformer

# What worked in the feasibility runs (docs/training.md), in units of 1 / sqrt(inputs).
NOISE_SCALE = 0.3
PROPRIO_SCALE = 10.0
DECODER_SCALE = 0.1
ANCHOR_AMPLITUDE = 0.7
CONTEXT_STD = 0.2
PERIOD_BASE = 1000.0


def set_scales(
    head: SoftPromptedTransformer, sources: Sequence[Samples], actions: int, seed: int
) -> None:
    """
    Set positions and each robot's action encoder and decoder, by its means.

    Rows share their random weights, so a deviation from the mean means the same on every robot. A
    row without samples stays as it is: zero biases tell that it was never trained.

    :param actions: number of anchors.
    """
    generator = torch.Generator().manual_seed(seed)
    encoder, decoder = random_rows(head, generator)
    with torch.no_grad():
        head.pos_emb.normal_(std=CONTEXT_STD, generator=generator)
        head.pos_emb[0, :actions] = ANCHOR_AMPLITUDE * sinusoid(actions, head.pos_emb.shape[-1])
        for samples in sources:
            set_row(head, samples.layout.domain_id, encoder, decoder, *sample_means(samples))


def random_rows(
    head: SoftPromptedTransformer, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return encoder (in, hidden) and decoder (hidden, action) weights at the right scale."""
    inner, hidden = head.action_encoder.dim_in, head.action_encoder.dim_out
    encoder = torch.randn(inner, hidden, generator=generator) / math.sqrt(inner)
    encoder[: head.dim_action] *= NOISE_SCALE
    encoder[head.dim_action : head.dim_action + head.dim_proprio] *= PROPRIO_SCALE
    decoder = torch.randn(hidden, head.dim_action, generator=generator) / math.sqrt(hidden)
    return encoder, decoder * DECODER_SCALE


def set_row(
    head: SoftPromptedTransformer,
    row: int,
    encoder: torch.Tensor,
    decoder: torch.Tensor,
    proprio: torch.Tensor,
    action: torch.Tensor,
) -> None:
    """Fill one domain's rows; biases subtract the mean state and add the mean action."""
    head.action_encoder.fc.weight[row] = encoder.flatten()
    inputs = encoder[head.dim_action : head.dim_action + head.dim_proprio]
    head.action_encoder.bias.weight[row] = -(proprio @ inputs)
    head.action_decoder.fc.weight[row] = decoder.flatten()
    head.action_decoder.bias.weight[row] = action


def sample_means(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a robot's mean state and mean action (20,), gripper channels zero."""
    proprio = torch.from_numpy(samples.proprio.mean(axis=0))
    actions = torch.from_numpy(np.array(samples.actions)).flatten(0, 2)
    action = actions[torch.isfinite(actions[:, 0])].mean(dim=0)
    proprio[[9, 19]] = 0.0
    action[[9, 19]] = 0.0
    return proprio, action


def sinusoid(length: int, dim: int) -> torch.Tensor:
    """Return sines and cosines (length, dim) of the position at falling frequencies."""
    frequency = torch.exp(-math.log(PERIOD_BASE) * torch.arange(dim // 2) / (dim // 2))
    angle = torch.arange(length)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
