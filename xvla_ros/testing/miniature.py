# SPDX-License-Identifier: Apache-2.0
"""A real X-VLA with random weights, small enough to build in a test."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import models, pre_tokenizers, processors, Tokenizer
import torch

from xvla_ros.model.config import parse_config
from xvla_ros.model.policy import Policy
from xvla_ros.model.writing import save_policy
from xvla_ros.model.xvla import build_network, XVLA

WORDS = ('<s>', '<pad>', '</s>', '<unk>', 'pick', 'up', 'the', 'red', 'green', 'blue', 'block')


def small_json(**changes: Any) -> dict[str, Any]:
    """Return a small config.json in the authors' schema."""
    vision = {
        'model_type': 'davit',
        'dim_embed': [16, 32],
        'depths': [1, 1],
        'num_heads': [2, 4],
        'num_groups': [2, 4],
        'patch_size': [7, 3],
        'patch_stride': [4, 2],
        'patch_padding': [3, 1],
        'patch_prenorm': [False, True],
        'window_size': 5,
        'drop_path_rate': 0.1,
        'projection_dim': 32,
        'image_pos_embed': {'type': 'learned_abs_2d', 'max_pos_embeddings': 10},
        'visual_temporal_embedding': {'type': 'COSINE', 'max_temporal_embeddings': 10},
    }
    text = {
        'vocab_size': len(WORDS),
        'd_model': 32,
        'encoder_layers': 2,
        'encoder_attention_heads': 4,
        'encoder_ffn_dim': 64,
        'max_position_embeddings': 128,
    }
    return {
        'action_mode': 'ee6d',
        'num_actions': 6,
        'hidden_size': 32,
        'depth': 3,
        'num_heads': 4,
        'mlp_ratio': 2.0,
        'num_domains': 3,
        'len_soft_prompts': 4,
        'dim_time': 32,
        'max_len_seq': 256,
        'use_hetero_proj': False,
        'florence_config': {'vision_config': vision, 'text_config': text},
        'xvla_ros': {'text_length': 8},
    } | changes


def small_tokenizer() -> Tokenizer:
    """Return a word tokenizer with BART's special ids."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0))
    return tokenizer


def small_network(seed: int = 0, **changes: Any) -> XVLA:
    """Build a network whose every tensor, biases too, is random."""
    network = build_network(parse_config(small_json(**changes)), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.ndim == 1 or tensor.shape[0] == 3:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network


def write_small(
    path: str | Path, seed: int = 0, dtype: torch.dtype | None = None, **changes: Any
) -> Path:
    """Write a small checkpoint and return its folder."""
    network = small_network(seed, **changes)
    save_policy(path, network, small_tokenizer(), (40, 40), dtype)
    return Path(path)


def observation(seed: int = 0, views: int = 2, width: int = 20) -> dict[str, Any]:
    """Return the keyword arguments of one `predict`, apart from the noise."""
    generator = np.random.default_rng(seed)
    images = [generator.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(views)]
    return {
        'images': images,
        'proprio': generator.standard_normal(width).astype(np.float32),
        'instruction': 'pick up the red block',
        'domain_id': 1,
    }


def noise(policy: Policy, seed: int = 0) -> NDArray[np.float32]:
    """Return fixed noise for a policy."""
    shape = (policy.config.num_actions, policy.mode.dim)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
