# SPDX-License-Identifier: Apache-2.0
"""The three pieces of the network in torch, as modules with named tensors in and out."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from xvla_ros.model.denoiser import Context
from xvla_ros.model.xvla import XVLA

VISION, CONTEXT, STEP = 'vision', 'context', 'step'
PIECES = (VISION, CONTEXT, STEP)
# The input of the step piece that has one value for all rows.
TIME = 'time'


class Vision(nn.Module):
    """Encodes images."""

    def __init__(self, network: XVLA) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised images (N, 3, H, W) into (N, tokens, C)."""
        return self.network.image_features(pixels)


class Fusion(nn.Module):
    """Fuses image features and words into the context, which no denoising step changes."""

    def __init__(self, network: XVLA) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: torch.Tensor, text: torch.Tensor, domain: torch.Tensor) -> Context:
        """See `Network.context`."""
        return self.network.context(views, text, domain)


class Step(nn.Module):
    """One denoising step."""

    def __init__(self, network: XVLA) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        actions: torch.Tensor,
        time: torch.Tensor,
        state: torch.Tensor,
        domain: torch.Tensor,
        tokens: torch.Tensor,
        qkv: torch.Tensor,
    ) -> torch.Tensor:
        """Predict clean actions (B, T, dim) from preprocessed noisy ones at flow time (1,)."""
        step = self.network.denoiser(Context(tokens, qkv), state, domain, time)
        return step(actions, 0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """
    One piece with example inputs.

    inputs: by name, in order; the first axis of each except TIME may have any length. outputs:
    names.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, torch.Tensor]
    outputs: tuple[str, ...]


@torch.no_grad()
def pieces(network: XVLA, size: tuple[int, int], rows: int = 2) -> tuple[Piece, Piece, Piece]:
    """
    Split a network into pieces.

    :param size: height and width of its images, pixels.
    :param rows: rows of the examples, which hold seeded random numbers.
    """
    config, random = network.config, torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random)

    pixels = normal(rows, 3, *size)
    tokens, width = network.image_features(pixels[:1]).shape[1:]
    views = normal(rows, config.view_slots, tokens, width)
    text = normal(rows, config.text_length, width)
    domain = torch.arange(rows) % config.num_domains
    context = network.context(views, text, domain)
    actions = normal(rows, config.num_actions, network.mode.dim)
    state = normal(rows, network.dim_proprio)
    step = {'actions': actions, TIME: torch.tensor([0.5]), 'state': state, 'domain': domain}
    return (
        Piece(
            name=VISION,
            module=Vision(network),
            inputs={'pixels': pixels},
            outputs=('features',),
        ),
        Piece(
            name=CONTEXT,
            module=Fusion(network),
            inputs={'views': views, 'text': text, 'domain': domain},
            outputs=Context._fields,
        ),
        Piece(
            name=STEP,
            module=Step(network),
            inputs=step | context._asdict(),
            outputs=('clean',),
        ),
    )
