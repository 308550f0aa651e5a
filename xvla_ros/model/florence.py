# SPDX-License-Identifier: Apache-2.0
"""Florence-2's encoder from `transformers`, with a window attention that pads late."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Florence2Config, Florence2Model
from transformers.models.florence2.modeling_florence2 import (
    Florence2VisionChannelAttention,
    Florence2VisionWindowAttention,
)

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.attention import attend

VISION_KEYS = (
    'depths',
    'num_heads',
    'num_groups',
    'patch_size',
    'patch_stride',
    'patch_padding',
    'patch_prenorm',
    'window_size',
    'projection_dim',
)
# transformers' key -> block and key in Microsoft's vision config.
MICROSOFT_LENGTHS = {
    'max_position_embeddings': ('image_pos_embed', 'max_pos_embeddings'),
    'max_temporal_embeddings': ('visual_temporal_embedding', 'max_temporal_embeddings'),
}
# Required keys. Their class defaults would give another shape (positions: 1024, not 4096).
TEXT_KEYS = (
    'vocab_size',
    'd_model',
    'encoder_layers',
    'encoder_attention_heads',
    'max_position_embeddings',
)
# Optional keys. transformers' defaults equal the released values.
TEXT_OPTIONS = (
    'encoder_ffn_dim',
    'activation_function',
    'dropout',
    'attention_dropout',
    'activation_dropout',
    'encoder_layerdrop',
    'scale_embedding',
    'pad_token_id',
    'bos_token_id',
    'eos_token_id',
)


def vision_settings(vision: Mapping[str, Any]) -> dict[str, Any]:
    """
    Translate a vision config to transformers' names.

    transformers silently accepts Microsoft's names but then uses Florence-2-base's widths. So they
    are recognised by `dim_embed` and translated here.
    """
    microsoft = 'dim_embed' in vision
    width = 'dim_embed' if microsoft else 'embed_dim'
    missing = [key for key in (width, *VISION_KEYS) if key not in vision]
    if missing:
        raise CheckpointError(f'florence_config.vision_config: {", ".join(missing)} missing')
    settings = {key: vision[key] for key in VISION_KEYS} | {'embed_dim': vision[width]}
    settings['drop_path_rate'] = vision.get('drop_path_rate', 0.1)
    if microsoft:
        for name, (block, key) in MICROSOFT_LENGTHS.items():
            if key not in (vision.get(block) or {}):
                raise CheckpointError(f'florence_config.vision_config: {block}.{key} missing')
            settings[name] = vision[block][key]
    kept = (
        ('mlp_ratio', 'qkv_bias') if microsoft else (*MICROSOFT_LENGTHS, 'mlp_ratio', 'qkv_bias')
    )
    return settings | {key: vision[key] for key in kept if key in vision}


def text_settings(text: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a text config to BART's, with no decoder layers: X-VLA has no text decoder."""
    missing = [key for key in TEXT_KEYS if key not in text]
    if missing:
        raise CheckpointError(f'florence_config.text_config: {", ".join(missing)} missing')
    settings = {key: text[key] for key in (*TEXT_KEYS, *TEXT_OPTIONS) if key in text}
    return settings | {'model_type': 'bart', 'decoder_layers': 0}


def build_florence(florence: Mapping[str, Any], attention: str = 'sdpa') -> Florence2Model:
    """
    Build Florence-2 without its text decoder, with late-padding window attention.

    :param attention: `sdpa`, or `eager` (faster to train in bf16 on a CPU).
    """
    for part in ('vision_config', 'text_config'):
        if not isinstance(florence.get(part), Mapping):
            raise CheckpointError(f'florence_config: {part} missing')
    vision = vision_settings(florence['vision_config'])
    settings = Florence2Config(
        vision_config=vision, text_config=text_settings(florence['text_config'])
    )
    settings._attn_implementation = attention
    model = Florence2Model(settings)
    del model.language_model.decoder
    replace_attention(model.vision_tower.blocks, settings.vision_config)
    tie_embeddings(model)
    return model


def replace_attention(stages: Any, settings: Any) -> None:
    """Replace the attention in every block of the vision tower, and keep the weights."""
    for stage, blocks in enumerate(stages):
        for block in blocks:
            window, channel = block.spatial_block.window_attn, block.channel_block.channel_attn
            late = LatePaddedWindowAttention(settings, stage)
            late.load_state_dict(window.state_dict(), assign=True)
            grouped = GroupedChannelAttention(settings, stage)
            grouped.load_state_dict(channel.state_dict(), assign=True)
            block.spatial_block.window_attn, block.channel_block.channel_attn = late, grouped


def tie_embeddings(model: Florence2Model) -> None:
    """Make the encoder's token embedding the shared one, as in BART."""
    model.language_model.encoder.embed_tokens.weight = model.language_model.shared.weight


class LatePaddedWindowAttention(Florence2VisionWindowAttention):
    """
    DaViT's window attention with the padding moved behind the QKV projection.

    The reference pads each map to a multiple of the window *before* projecting. A padded position
    projects to exactly the QKV bias, so filling with the bias afterwards gives the same bits for
    less work: a 7x7 map projects 49 rows instead of 144. The output projection, too, runs on the
    cropped map. On a processor nothing is padded at all: see `_cropped`.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """
        Attend within windows.

        :param hidden_states: (B, H, W, C).
        :return: (B, H * W, C).
        """
        _, height, width, _ = hidden_states.shape
        qkv, size = self.qkv(hidden_states), self.window_size
        right, bottom = -width % size, -height % size
        if not right and not bottom:
            out = self._attended(qkv, size, size)
        elif qkv.device.type == 'cpu':
            out = self._cropped(qkv)
        else:  # fewer and larger kernels
            out = self._attended(self._padded(qkv, right, bottom), size, size)[:, :height, :width]
        return self.proj(out.flatten(1, 2))

    def _attended(self, qkv: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """
        Attend within windows that tile a projected map (B, H, W, 3C): (B, H, W, C).

        In a window cut short by the border, one key stands for all padding, weighted by its count.
        """
        batch, height, width, channels = qkv.shape
        down, across, heads = height // rows, width // columns, self.num_heads
        qkv = qkv.reshape(batch, down, rows, across, columns, 3, heads, -1)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(
            3, batch * down * across, heads, rows * columns, -1
        )
        q, k, v = qkv.unbind(0)  # (B * windows, heads, rows * columns, C / heads)
        lacking = self.window_size**2 - rows * columns
        if lacking:
            _, key, value = self.qkv.bias.to(qkv.dtype).view(3, 1, heads, 1, -1)
            k = torch.cat([k, key.expand(k.shape[0], -1, -1, -1)], dim=2)
            v = torch.cat([v, value.expand(v.shape[0], -1, -1, -1)], dim=2)
        explicit = self.config._attn_implementation == 'eager'
        out = attend(q, k, v, explicit=explicit, repeats=max(lacking, 1))
        out = out.view(batch, down, across, heads, rows, columns, -1)
        return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, channels // 3)

    def _cropped(self, qkv: torch.Tensor) -> torch.Tensor:
        """
        Attend without the padded positions, separately for whole and cut windows.

        A 14x14 map then has 196 rows instead of 576. The padded keys of a window all equal the
        bias, so one stands for all. The result equals padding up to the order of additions.
        """
        down, across = (cuts(length, self.window_size) for length in qkv.shape[1:3])
        bands = [
            [self._attended(qkv[:, a:b, c:d], rows, columns) for c, d, columns in across]
            for a, b, rows in down
        ]
        return torch.cat([torch.cat(band, dim=2) for band in bands], dim=1)

    def _padded(self, qkv: torch.Tensor, right: int, bottom: int) -> torch.Tensor:
        """Extend a projected map (B, H, W, 3C) by bias rows, equal to padding before."""
        batch, height, width, channels = qkv.shape
        out = self.qkv.bias.to(qkv.dtype).expand(batch, height + bottom, width + right, channels)
        out = out.clone()
        out[:, :height, :width] = qkv
        return out


def cuts(length: int, size: int) -> list[tuple[int, int, int]]:
    """Split an axis into whole windows and the rest: (start, stop, window's length)."""
    whole = length - length % size
    parts = [(0, whole, size), (whole, length, length - whole)]
    return [part for part in parts if part[2] and part[1] > part[0]]


class GroupedChannelAttention(Florence2VisionChannelAttention):
    """
    DaViT's channel attention as plain matrix products.

    Channels attend to channels: the scores of a group are 32 x 32 and the "head width" is the
    number of tokens, 3136 in the first stage, which no fused kernel is made for.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attend across the channels of tokens (B, N, C)."""
        batch, tokens, channels = hidden_states.shape
        qkv = self.qkv(hidden_states).view(batch, tokens, 3, self.groups, -1)
        qkv = qkv.permute(2, 0, 3, 1, 4).reshape(3, batch * self.groups, tokens, -1)
        q, k, v = qkv.unbind(0)  # (B * groups, N, C / groups)
        scores = torch.baddbmm(q.new_zeros(1, 1, 1), q.mT, k, beta=0, alpha=tokens**-0.5)
        out = torch.bmm(v, scores.softmax(dim=-1).mT)
        out = out.view(batch, self.groups, tokens, -1).transpose(1, 2)
        return self.proj(out.reshape(batch, tokens, channels))
