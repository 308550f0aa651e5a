# SPDX-License-Identifier: Apache-2.0
"""The demo's small X-VLA: its geometry, its tokenizer, and the words it is taught."""

from collections.abc import Sequence
from typing import Any

from tokenizers import models, normalizers, pre_tokenizers, processors, Tokenizer, trainers

from xvla_ros.model.config import NetworkConfig, parse_config

# Side of the square images, pixels. With strides 8 and 2: 6x6 tokens of 16 px each.
IMAGE_SIDE = 96
GRID = 6
# `<s> move above the green block now </s>` and one to spare.
TEXT_LENGTH = 10
VOCABULARY = 64
# One row per simulated robot and one free for a fourth.
NUM_DOMAINS = 4
COLOURS = ('red', 'green', 'blue')
TEMPLATES = (
    'pick up the {} block',
    'pick the {} block',
    'grasp the {} block',
    'grab the {} block',
    'reach the {} block',
    'reach for the {} block',
    'go to the {} block',
    'move to the {} block',
    'move above the {} block',
    'pick up the {} cube',
)
# BART's ids (facebook/bart-large tokenizer.json).
SPECIAL_TOKENS = ('<s>', '<pad>', '</s>', '<unk>')


def instructions(colour: str) -> tuple[str, ...]:
    """Return every instruction that names a block by its colour, the usual one first."""
    return tuple(template.format(colour) for template in TEMPLATES)


def train_tokenizer(corpus: Sequence[str]) -> Tokenizer:
    """Train a lower-case word tokenizer with BART's special tokens and framing."""
    tokenizer = Tokenizer(models.WordLevel(unk_token='<unk>'))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation('removed')]
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s> $A </s>', special_tokens=[('<s>', 0), ('</s>', 2)]
    )
    return tokenizer


def demo_tokenizer() -> Tokenizer:
    """Train the demo's tokenizer on every sentence the demo is taught."""
    return train_tokenizer([text for colour in COLOURS for text in instructions(colour)])


def demo_config() -> NetworkConfig:
    """Return the small network's geometry: 1.9 M parameters, X-VLA's own classes."""
    return parse_config(demo_json(), 'the demo network')


def demo_json() -> dict[str, Any]:
    """Write the geometry as a `config.json`; `xvla_ros` holds what X-VLA has as constants."""
    return {
        'model_type': 'xvla',
        'action_mode': 'ee6d',
        'num_actions': 30,
        'hidden_size': 128,
        'depth': 4,
        'num_heads': 4,
        'mlp_ratio': 4.0,
        'num_domains': NUM_DOMAINS,
        'len_soft_prompts': 8,
        'dim_time': 32,
        'max_len_seq': 192,
        'max_action_dim': 20,
        'real_action_dim': 20,
        'use_hetero_proj': False,
        'florence_config': {'vision_config': vision_json(), 'text_config': text_json()},
        'xvla_ros': {'text_length': TEXT_LENGTH, 'head_dropout': 0.0},
    }


def vision_json() -> dict[str, Any]:
    """Two DaViT stages: 96 -> 12 -> 6 tokens a side; the window divides both."""
    return {
        'model_type': 'davit',
        'embed_dim': [64, 128],
        'depths': [1, 1],
        'num_heads': [2, 4],
        'num_groups': [2, 4],
        'patch_size': [8, 3],
        'patch_stride': [8, 2],
        'patch_padding': [0, 1],
        'patch_prenorm': [False, True],
        'window_size': 6,
        'drop_path_rate': 0.0,
        'projection_dim': 128,
        'max_position_embeddings': 16,
        'max_temporal_embeddings': 4,
    }


def text_json() -> dict[str, Any]:
    """Two BART encoder layers."""
    return {
        'vocab_size': VOCABULARY,
        'd_model': 128,
        'encoder_layers': 2,
        'encoder_attention_heads': 4,
        'encoder_ffn_dim': 512,
        'max_position_embeddings': 64,
        'dropout': 0.0,
        'attention_dropout': 0.0,
        'activation_dropout': 0.0,
    }
