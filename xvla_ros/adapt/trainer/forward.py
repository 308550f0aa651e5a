# SPDX-License-Identifier: Apache-2.0
"""The forward pass for training: the same numbers as `XVLA.forward` with less work."""

from typing import cast

import torch
from torch.utils.checkpoint import checkpoint

from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.model.head import Attention, Block, time_embedding
from xvla_ros.model.xvla import XVLA


def tower_tokens(network: XVLA, pixels: torch.Tensor) -> torch.Tensor:
    """Return the vision tower's map of images (I, 3, H, W) as tokens (I, N, C)."""
    return as_tokens(feature_map(network, pixels))


def feature_map(network: XVLA, pixels: torch.Tensor) -> torch.Tensor:
    """Return the vision tower's map of images: (I, C, h, w)."""
    found: torch.Tensor = network.vlm.vision_tower(pixels).last_hidden_state
    return found


def as_tokens(maps: torch.Tensor) -> torch.Tensor:
    """Return maps (I, C, h, w) as tokens (I, h * w, C)."""
    return maps.flatten(2).transpose(1, 2)


def encode(network: XVLA, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Encode a batch without running views that do not exist; what is known already is returned.

    :return: the encoder's output (B, N + L, C) and the other views' tokens (B, M, C).
    """
    if batch.encoded is not None and batch.auxiliary is not None:
        return batch.encoded, batch.auxiliary
    return encode_maps(network, batch, feature_map(network, batch.pixels))


def encode_maps(
    network: XVLA, batch: Batch, maps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode a batch whose images have been through the vision tower."""
    projected = network.vlm.multi_modal_projector(maps)
    views = projected.new_zeros(*batch.mask.shape, *projected.shape[1:])
    views = views.masked_scatter(batch.mask[:, :, None, None], projected)
    return network.fuse(views, network.text_features(batch.tokens))


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
    *,
    checkpointing: bool = False,
) -> torch.Tensor:
    """Predict clean actions (B, T, dim) from noisy ones at flow times t (B,)."""
    head, length = network.transformer, noisy.shape[1]
    proprio, noisy = network.mode.preprocess(batch.proprio, noisy)
    shared = torch.cat([proprio, time_embedding(t, head.dim_time)], dim=-1)
    tokens = torch.cat([noisy, shared[:, None].expand(-1, length, -1)], dim=-1)
    x = head.action_encoder(tokens, batch.domain) + head.pos_emb[:, :length]
    x = torch.cat([x, head.context(encoded, auxiliary, batch.domain, length)], dim=1)
    *blocks, last = head.layers
    for block in blocks:
        x = checkpointed(block, x) if checkpointing else block(x)
    return cast(
        torch.Tensor, head.action_decoder(head.norm(last_block(last, x, length)), batch.domain)
    )


def checkpointed(block: Block, x: torch.Tensor) -> torch.Tensor:
    """Run a block and keep nothing but its input for the backward pass."""
    return cast(torch.Tensor, checkpoint(block, x, use_reentrant=False))


def last_block(block: Block, x: torch.Tensor, rows: int) -> torch.Tensor:
    """Run the last block for the first rows only; the others are not used."""
    attention: Attention = block.attn
    q, k, v = attention.split(attention.qkv(block.norm1(x)))
    x = x[:, :rows] + attention.attend(q[:, :, :rows], k, v)
    out: torch.Tensor = x + block.mlp(block.norm2(x))
    return out
