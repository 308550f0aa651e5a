# SPDX-License-Identifier: Apache-2.0
"""
Names of the same tensors in the three layouts of checkpoints.

`2toinf`   the authors' remote code: `vlm.` with Microsoft's names, `transformer.`
`lerobot`  the same, every name behind `model.` (lerobot up to 0.4, lerobot/xvla-*)
`native`   transformers' own Florence-2 names behind `model.` (lerobot after its PR 4089)

Inside this project the network uses the native names without `model.`.
"""

from collections.abc import Iterable
import re

import torch

from xvla_ros.core.errors import CheckpointError

LAYOUTS = ('2toinf', 'lerobot', 'native')
LEROBOT_PREFIX = 'model.'
SHARED = 'vlm.language_model.shared.weight'
EMBED = 'vlm.language_model.encoder.embed_tokens.weight'
PROJECTION = 'vlm.multi_modal_projector.image_projection.weight'
# Stored by the authors, but never used.
LOGITS_BIAS = 'vlm.language_model.final_logits_bias'

# (authors' pattern, native replacement, native pattern, authors' replacement), in order.
RULES = (
    (r'(\.convs\.\d+)\.proj\.', r'\1.conv.', r'(\.convs\.\d+)\.conv\.', r'\1.proj.'),
    (r'\.(conv[12])\.fn\.dw\.', r'.\1.', r'_block\.(conv[12])\.', r'_block.\1.fn.dw.'),
    (
        r'\.(window|channel)_attn\.fn\.',
        r'.\1_attn.',
        r'\.(window|channel)_attn\.',
        r'.\1_attn.fn.',
    ),
    (r'_block\.(window|channel)_attn\.norm\.', r'_block.norm1.', None, None),
    (r'\.ffn\.fn\.net\.', r'.ffn.', r'_block\.ffn\.', r'_block.ffn.fn.net.'),
    (r'\.ffn\.norm\.', r'.norm2.', r'_block\.norm2\.', r'_block.ffn.norm.'),
    (r'^image_projection$', 'multi_modal_projector.image_projection.weight', None, None),
    (r'^image_proj_norm', 'multi_modal_projector.image_proj_norm', None, None),
    (r'^image_pos_embed', 'multi_modal_projector.image_position_embed', None, None),
    (r'^visual_temporal_embed', 'multi_modal_projector.visual_temporal_embed', None, None),
    (r'^language_model\.model\.', 'language_model.', None, None),
)
BACK = (
    (r'(spatial)_block\.norm1\.', r'\1_block.window_attn.norm.'),
    (r'(channel)_block\.norm1\.', r'\1_block.channel_attn.norm.'),
    (r'^multi_modal_projector\.image_projection\.weight$', 'image_projection'),
    (r'^multi_modal_projector\.image_proj_norm', 'image_proj_norm'),
    (r'^multi_modal_projector\.image_position_embed', 'image_pos_embed'),
    (r'^multi_modal_projector\.', ''),
    (r'^language_model\.(?!final_logits_bias)', 'language_model.model.'),
)


def detect_layout(names: Iterable[str]) -> str:
    """
    Return the layout of tensor names.

    :raises CheckpointError: neither of the network's two halves is there.
    """
    names = set(names)
    prefix = LEROBOT_PREFIX if any(n.startswith('model.transformer.') for n in names) else ''
    if not any(n.startswith(f'{prefix}transformer.') for n in names):
        example = min(names, default='no tensor at all')
        raise CheckpointError(f'not an X-VLA checkpoint: no transformer.* tensor, found {example}')
    authors = f'{prefix}vlm.image_projection' in names or any(
        n.startswith(f'{prefix}vlm.language_model.model.') for n in names
    )
    if authors:
        return 'lerobot' if prefix else '2toinf'
    return 'native'


def to_network(name: str) -> str:
    """Translate a name from any layout to the network's."""
    name = name.removeprefix(LEROBOT_PREFIX)
    if not name.startswith('vlm.'):
        return name
    inner = name.removeprefix('vlm.')
    # The norm of the attention must be recognised before `.fn.` is dropped from its projections.
    for pattern, replacement, _, _ in sorted(RULES, key=lambda rule: 'norm1' not in rule[1]):
        inner = re.sub(pattern, replacement, inner)
    return f'vlm.{inner}'


def from_network(name: str, layout: str) -> str:
    """Translate the network's name to a layout's."""
    if layout not in LAYOUTS:
        raise CheckpointError(f'layout {layout!r} is unknown; known: {", ".join(LAYOUTS)}')
    prefix = '' if layout == '2toinf' else LEROBOT_PREFIX
    if layout == 'native' or not name.startswith('vlm.'):
        return prefix + name
    inner = name.removeprefix('vlm.')
    forward = [(r[2], r[3]) for r in RULES if r[2] is not None]
    for pattern, replacement in (*forward, *BACK):
        inner = re.sub(pattern, replacement, inner)
    return f'{prefix}vlm.{inner}'


def is_transposed(network_name: str, layout: str) -> bool:
    """Say whether a layout stores the transpose: the authors' image projection is x @ P."""
    return network_name == PROJECTION and layout != 'native'


def stored_tensor(name: str, tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """Convert a tensor of the network to the stored form of a layout, or back."""
    return tensor.t() if is_transposed(name, layout) else tensor
