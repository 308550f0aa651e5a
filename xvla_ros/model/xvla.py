# SPDX-License-Identifier: Apache-2.0
"""The X-VLA network: Florence-2's encoder and an action head with soft prompts."""

import torch
from torch import nn

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import padded_modes  # noqa: F401 - registers its modes
from xvla_ros.model.action_modes import action_mode
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.denoiser import Context, context_of, Denoiser
from xvla_ros.model.florence import build_florence
from xvla_ros.model.head import SoftPromptedTransformer


class XVLA(nn.Module):
    """
    The whole network. Parameters are named as in lerobot's native layout without `model.`.

    :param attention: `sdpa`, or `eager` for plain matrix products (faster bf16 training on CPU).
    """

    def __init__(self, config: NetworkConfig, attention: str = 'sdpa') -> None:
        super().__init__()
        self.config = config
        self.mode = action_mode(config)
        own = config.dim_proprio
        self.dim_proprio = self.mode.dim_proprio if own is None else own
        self.vlm = build_florence(config.florence, attention)
        self.transformer = SoftPromptedTransformer(
            config, self.mode.dim, self.dim_proprio, attention
        )

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised images (N, 3, H, W) into features (N, tokens, C)."""
        features = self.vlm.vision_tower(pixels).last_hidden_state
        return self.vlm.multi_modal_projector(features)

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed token ids (B, L) into (B, L, C), before the encoder."""
        return self.vlm.language_model.encoder.embed_tokens(tokens)

    def fuse(self, views: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Encode the main view together with the text; padding is attended, as in the reference.

        :param views: (B, V, tokens, C), zeros for a missing view; `text`: (B, L, C).
        :return: encoder output (B, tokens + L, C) and the other views' tokens, flattened.
        """
        inputs = torch.cat([views[:, 0], text], dim=1)
        encoder = self.vlm.language_model.encoder
        encoded = encoder(inputs_embeds=inputs, attention_mask=None).last_hidden_state
        return encoded, views[:, 1:].flatten(1, 2)

    def context(self, views: torch.Tensor, text: torch.Tensor, domain: torch.Tensor) -> Context:
        """Fuse views and text, see `fuse`, and prepare them for the steps of domain rows (B,)."""
        encoded, auxiliary = self.fuse(views, text)
        return context_of(self.transformer, encoded, auxiliary, domain, self.config.num_actions)

    def denoiser(
        self, context: Context, state: torch.Tensor, domain: torch.Tensor, times: torch.Tensor
    ) -> Denoiser:
        """Return the steps of a run at times (steps,) with a preprocessed state (B, dim)."""
        length = self.config.num_actions
        return Denoiser(self.transformer, times, context, state, domain, length)

    def encode(
        self, tokens: torch.Tensor, pixels: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Encode a batch (training; shapes do not depend on the mask).

        :param tokens: (B, L) ids; `pixels`: (B, V, 3, H, W) normalised; `mask`: (B, V) bool.
        :return: encoder output and auxiliary view features, see `fuse`.
        """
        batch, views = mask.shape
        features = self.image_features(pixels.flatten(0, 1)).unflatten(0, (batch, views))
        features = torch.where(mask[:, :, None, None], features, 0.0)
        return self.fuse(features, self.text_features(tokens))

    def forward(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        mask: torch.Tensor,
        proprio: torch.Tensor,
        domain: torch.Tensor,
        actions: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """
        Predict clean actions from noisy ones at flow times t (B,); see `encode` for the rest.

        :param actions: (B, T, dim) noisy; the action mode's preprocessing happens here.
        :return: (B, T, dim) raw prediction, the input of the action mode's `loss`.
        """
        encoded, auxiliary = self.encode(tokens, pixels, mask)
        proprio, actions = self.mode.preprocess(proprio, actions)
        return self.transformer(actions, proprio, t, encoded, auxiliary, domain)


def build_network(config: NetworkConfig, seed: int = 0, attention: str = 'sdpa') -> XVLA:
    """Build a network with the reference's random initialisation, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = XVLA(config, attention)
    check_sequence(config, config.text_length + 1)
    return network


def check_sequence(config: NetworkConfig, context_tokens: int) -> None:
    """Refuse a geometry whose sequence is longer than the positional table."""
    length = config.num_actions + context_tokens
    if length > config.max_len_seq:
        raise CheckpointError(
            f'config: {length} tokens before the prompts do not fit max_len_seq '
            f'{config.max_len_seq}'
        )
