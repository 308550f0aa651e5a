# SPDX-License-Identifier: Apache-2.0
"""
The network as three pieces, split by how often each must be computed.

The vision piece runs once per observation for all views, the context piece once per observation,
the step piece once per denoising step. `xvla_ros.model.xvla.XVLA` is the implementation in torch;
the graphs of `xvla export` are another. Both share all other code, from pixels to the sampler.
"""

from collections.abc import Callable
from typing import Protocol, TYPE_CHECKING

import torch

from xvla_ros.model.denoiser import Context

if TYPE_CHECKING:
    from xvla_ros.model.action_modes import ActionMode
    from xvla_ros.model.config import NetworkConfig

# Maps preprocessed noisy actions (B, T, dim) and the index of their time to clean ones.
Step = Callable[[torch.Tensor, int], torch.Tensor]


class Network(Protocol):
    """Tensors are float32, indices int64; B rows of a batch, V view slots, T actions."""

    config: 'NetworkConfig'
    mode: 'ActionMode'
    dim_proprio: int

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised images (N, 3, H, W) into features (N, tokens, C)."""

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed token ids (B, L) into (B, L, C)."""

    def context(self, views: torch.Tensor, text: torch.Tensor, domain: torch.Tensor) -> Context:
        """Fuse views (B, V, tokens, C) with text (B, L, C) for domain rows (B,)."""

    def denoiser(
        self, context: Context, state: torch.Tensor, domain: torch.Tensor, times: torch.Tensor
    ) -> Step:
        """
        Return one denoising step of a run.

        :param state: (B, dim_proprio), preprocessed. times: (steps,) flow times of the run.
        """
