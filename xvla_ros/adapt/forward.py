# SPDX-License-Identifier: Apache-2.0
"""The forward pass as training needs it: the numbers of `XVLA.forward`, for less work."""

from contextlib import AbstractContextManager

import torch

from xvla_ros.adapt.mixture import Batch
from xvla_ros.model.head import Attention, Block, time_embedding
from xvla_ros.model.xvla import XVLA


def half_precision(network: XVLA) -> AbstractContextManager:
    """Return a context in which matrix products run in bfloat16, on whatever the network is on."""
    return torch.autocast(network.transformer.pos_emb.device.type, torch.bfloat16)


def tower_tokens(network: XVLA, pixels: torch.Tensor) -> torch.Tensor:
    """Return the vision tower's map of images (I, 3, H, W) as tokens (I, 36, C)."""
    return network.vlm.vision_tower(pixels).last_hidden_state.flatten(2).transpose(1, 2)


def encode(network: XVLA, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Encode a batch without running views that do not exist.

    :return: the tower's tokens (I, 36, C), the encoder's output (B, 37 + L, C) and the other
        views' tokens.
    """
    feature_map = network.vlm.vision_tower(batch.pixels).last_hidden_state
    projected = network.vlm.multi_modal_projector(feature_map)
    views = projected.new_zeros(*batch.mask.shape, *projected.shape[1:])
    views = views.masked_scatter(batch.mask[:, :, None, None], projected)
    encoded, auxiliary = network.fuse(views, network.text_features(batch.tokens))
    return feature_map.flatten(2).transpose(1, 2), encoded, auxiliary


def image_part(encoded: torch.Tensor, cells: int = 36) -> torch.Tensor:
    """Drop the pooled token and the words from the encoder's output."""
    return encoded[:, 1 : 1 + cells]


def act(
    network: XVLA,
    batch: Batch,
    encoded: torch.Tensor,
    auxiliary: torch.Tensor,
    noisy: torch.Tensor,
    t: torch.Tensor,
) -> torch.Tensor:
    """Predict clean actions (B, 30, 20) from noisy ones at flow times t (B,)."""
    head, length = network.transformer, noisy.shape[1]
    proprio, noisy = network.mode.preprocess(batch.proprio, noisy)
    shared = torch.cat([proprio, time_embedding(t, head.dim_time)], dim=-1)
    tokens = torch.cat([noisy, shared[:, None].expand(-1, length, -1)], dim=-1)
    x = head.action_encoder(tokens, batch.domain) + head.pos_emb[:, :length]
    x = torch.cat([x, head.context(encoded, auxiliary, batch.domain, length)], dim=1)
    for block in head.blocks[:-1]:
        x = block(x)
    return head.action_decoder(head.norm(last_block(head.blocks[-1], x, length)), batch.domain)


def last_block(block: Block, x: torch.Tensor, rows: int) -> torch.Tensor:
    """Run the last block for the first rows only: nothing reads the others."""
    attention: Attention = block.attn
    q, k, v = attention.split(attention.qkv(block.norm1(x)))
    x = x[:, :rows] + attention.attend(q[:, :, :rows], k, v)
    return x + block.mlp(block.norm2(x))
