# SPDX-License-Identifier: Apache-2.0
"""
The published X-VLA network, from lerobot's wheel, behind a pipe.

Runs in `.venv-reference`, whose pins clash with ours, so it imports nothing of this project. Only
the wheel's network files are loaded; the rest of lerobot becomes empty modules. Commands:

run    read inputs from an .npz, write the features, the encoder output, one head pass, the chunk
serve  load once, then answer every line on stdin with the seconds one chunk took

The weights are not stored anywhere: both sides draw them, tensor by tensor, from its name.
"""

from functools import cache
import importlib.util
from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from zlib import crc32

import numpy as np

# Geometry of the released checkpoints (2toINF/X-VLA-WidowX config.json), and a small one.
VISION = {
    'model_type': 'davit',
    'drop_path_rate': 0.1,
    'patch_size': [7, 3, 3, 3],
    'patch_stride': [4, 2, 2, 2],
    'patch_padding': [3, 1, 1, 1],
    'patch_prenorm': [False, True, True, True],
    'enable_checkpoint': False,
    'window_size': 12,
    'image_pos_embed': {'type': 'learned_abs_2d', 'max_pos_embeddings': 50},
    'visual_temporal_embedding': {'type': 'COSINE', 'max_temporal_embeddings': 100},
    'image_feature_source': ['spatial_avg_pool', 'temporal_avg_pool'],
}
TEXT = {
    'model_type': 'florence2_language',
    'activation_function': 'gelu',
    'dropout': 0.1,
    'attention_dropout': 0.1,
    'activation_dropout': 0.1,
    'scale_embedding': False,
    'pad_token_id': 1,
    'bos_token_id': 0,
    'eos_token_id': 2,
    'decoder_start_token_id': 2,
    'is_encoder_decoder': True,
}
HEAD = {
    'action_mode': 'ee6d',
    'num_actions': 30,
    'num_domains': 30,
    'len_soft_prompts': 32,
    'dim_time': 32,
    'max_len_seq': 512,
    'mlp_ratio': 4.0,
    'use_hetero_proj': False,
    'use_proprio': True,
}
SIZES = {
    'full': {
        'widths': [256, 512, 1024, 2048],
        'heads': [8, 16, 32, 64],
        'depths': [1, 1, 9, 1],
        'width': 1024,
        'layers': 12,
        'attention_heads': 16,
        'depth': 24,
        'vocabulary': 51289,
        'positions': 4096,
    },
    'small': {
        'widths': [32, 64, 96, 128],
        'heads': [1, 2, 3, 4],
        'depths': [1, 1, 2, 1],
        'width': 96,
        'layers': 2,
        'attention_heads': 4,
        'depth': 3,
        'vocabulary': 1000,
        'positions': 256,
    },
}
TEXT_LENGTH, VIEWS = 50, 3
# Tables that are looked up, not multiplied: kept small so that a random network stays in range.
TABLES = ('embed', 'soft_prompt_hub', 'pos_emb', 'pos_idx', '.fc.weight', '.bias.weight')


def config_json(size: str) -> dict:
    """Return a config.json in the authors' schema."""
    g = SIZES[size]
    vision = VISION | {
        'dim_embed': g['widths'],
        'num_heads': g['heads'],
        'num_groups': g['heads'],
        'depths': g['depths'],
        'projection_dim': g['width'],
    }
    text = TEXT | {
        'vocab_size': g['vocabulary'],
        'd_model': g['width'],
        'max_position_embeddings': g['positions'],
    }
    for side in ('encoder', 'decoder'):
        text[f'{side}_layers'] = g['layers']
        text[f'{side}_attention_heads'] = g['attention_heads']
        text[f'{side}_ffn_dim'] = 4 * g['width']
    florence = {
        'model_type': 'florence2',
        'projection_dim': g['width'],
        'vocab_size': g['vocabulary'],
        'pad_token_id': 1,
        'bos_token_id': 0,
        'eos_token_id': 2,
        'text_config': text,
        'vision_config': vision,
    }
    shape = {'hidden_size': g['width'], 'depth': g['depth'], 'num_heads': g['attention_heads']}
    return {'model_type': 'xvla', 'florence_config': florence, **shape, **HEAD}


def seeded_values(name: str, shape: tuple, seed: int) -> np.ndarray:
    """Draw a tensor's values from its name in the authors' layout, scaled for a deep network."""
    generator = np.random.default_rng([seed, crc32(name.encode())])
    values = generator.standard_normal(shape, dtype=np.float32)
    if any(part in name for part in TABLES):
        return values * np.float32(0.02)
    if len(shape) == 1:
        return values * np.float32(0.02) + np.float32('norm' in name and name.endswith('weight'))
    return values * np.float32(np.prod(shape[1:]) ** -0.5)


def seeded_inputs(size: str, valid_views: int, seed: int) -> dict[str, np.ndarray]:
    """Draw one observation; views beyond the valid ones are zeros."""
    generator = np.random.default_rng([seed, valid_views])
    mask = np.arange(VIEWS)[None] < valid_views
    pixels = generator.standard_normal((1, VIEWS, 3, 224, 224), dtype=np.float32)
    return {
        'input_ids': generator.integers(3, SIZES[size]['vocabulary'], (1, TEXT_LENGTH)),
        'pixel_values': pixels * mask[:, :, None, None, None],
        'image_mask': mask,
        'proprio': generator.standard_normal((1, 20), dtype=np.float32),
        'domain_id': generator.integers(0, HEAD['num_domains'], 1),
        'noise': generator.standard_normal((1, HEAD['num_actions'], 20), dtype=np.float32),
        'head_time': np.float32([0.7]),
    }


def stub(name: str, path: Path | None = None, **attributes: object) -> None:
    """Replace a part of lerobot by an empty module."""
    module = ModuleType(name)
    if path is not None:
        module.__path__ = [str(path)]
    vars(module).update(attributes)
    sys.modules[name] = module


@cache
def reference_modules() -> tuple:
    """Import the wheel's network files without the rest of lerobot."""
    import torch

    root = Path(importlib.util.find_spec('lerobot').submodule_search_locations[0])
    nowhere, policies = root / 'nowhere', 'lerobot.policies'
    stub('lerobot', root)
    stub(policies, root / 'policies')
    stub(f'{policies}.xvla', root / 'policies' / 'xvla')
    stub(f'{policies}.xvla.configuration_xvla', XVLAConfig=SimpleNamespace)
    stub('lerobot.configs', nowhere)
    stub('lerobot.configs.policies', PreTrainedConfig=object)
    stub(f'{policies}.pretrained', PreTrainedPolicy=torch.nn.Module, T=object)
    stub(f'{policies}.utils', populate_queues=None)
    stub('lerobot.utils', nowhere)
    words = {'ACTION': 'action', 'OBS_LANGUAGE_TOKENS': 'tokens', 'OBS_STATE': 'state'}
    stub('lerobot.utils.constants', **words)
    from lerobot.policies.xvla import configuration_florence2, modeling_xvla

    return configuration_florence2, modeling_xvla


def build(size: str, dtype: str, seed: int) -> object:
    """Build the published network and fill it with the seeded values."""
    import torch

    configuration_florence2, modeling_xvla = reference_modules()
    config = config_json(size)
    settings = SimpleNamespace(
        chunk_size=config['num_actions'],
        max_action_dim=20,
        action_feature=None,
        dtype=dtype,
        freeze_vision_encoder=False,
        freeze_language_encoder=False,
        train_policy_transformer=True,
        train_soft_prompts=True,
        **config,
    )
    florence = configuration_florence2.Florence2Config(**config['florence_config'])
    florence._attn_implementation = 'sdpa'
    model = modeling_xvla.XVLAModel(settings, florence, proprio_dim=20).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith('encoder.embed_tokens.weight'):
                continue  # tied to the shared embedding
            tensor.copy_(torch.from_numpy(seeded_values(name, tuple(tensor.shape), seed)))
    return model


def arguments(data: dict) -> dict:
    """Name inputs as the published sampler does."""
    import torch

    names = {
        'input_ids': 'input_ids',
        'image_input': 'pixel_values',
        'image_mask': 'image_mask',
        'domain_id': 'domain_id',
        'proprio': 'proprio',
    }
    return {ours: torch.from_numpy(data[theirs]) for ours, theirs in names.items()}
