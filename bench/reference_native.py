# SPDX-License-Identifier: Apache-2.0
"""
Today's published X-VLA network: lerobot 0.6.1, on transformers' own Florence-2.

Runs in `.venv-reference-native` and imports nothing of this project. Its weights are those of a
checkpoint in the authors' layout, which its own loader renames. Like reference_run.py it writes
the outputs of every stage for seeded inputs.
"""

import argparse
import importlib.util
import json
from pathlib import Path
import sys
from types import SimpleNamespace

import numpy as np
from safetensors.torch import load_file
import torch

sys.path.insert(0, str(Path(__file__).parent))
from reference_network import seeded_inputs, stub
from reference_run import outputs

SHARED, EMBEDDED = (
    'vlm.language_model.shared.weight',
    'vlm.language_model.encoder.embed_tokens.weight',
)
# Keys of Microsoft's vision config that transformers names otherwise, and those it does not have.
RENAMED = {
    'image_pos_embed': ('max_position_embeddings', 'max_pos_embeddings'),
    'visual_temporal_embedding': ('max_temporal_embeddings', 'max_temporal_embeddings'),
}
LEFT_OUT = ('model_type', 'enable_checkpoint', 'image_feature_source', 'dim_embed', *RENAMED)


def reference_module() -> object:
    """Import the wheel's network file without the rest of lerobot."""
    root = Path(importlib.util.find_spec('lerobot').submodule_search_locations[0])
    nowhere, policies = root / 'nowhere', 'lerobot.policies'
    stub('lerobot', root)
    stub(policies, root / 'policies')
    stub(f'{policies}.xvla', root / 'policies' / 'xvla')
    stub(f'{policies}.xvla.configuration_xvla', XVLAConfig=SimpleNamespace)
    stub('lerobot.configs', PreTrainedConfig=object)
    stub(f'{policies}.pretrained', PreTrainedPolicy=torch.nn.Module, T=object)
    stub(f'{policies}.utils', populate_queues=None)
    stub(f'{policies}.common', nowhere)
    stub(f'{policies}.common.vla_utils', pad_vector=None, resize_with_pad=None)
    stub('lerobot.utils', nowhere)
    words = {'ACTION': 'action', 'OBS_LANGUAGE_TOKENS': 'tokens', 'OBS_STATE': 'state'}
    stub('lerobot.utils.constants', **words)
    available = {'_transformers_available': True, 'require_package': lambda *_, **__: None}
    stub('lerobot.utils.import_utils', **available)
    from lerobot.policies.xvla import modeling_xvla

    return modeling_xvla


def native_vision(vision: dict) -> dict:
    """Return Microsoft's vision config in transformers' words."""
    kept = {key: value for key, value in vision.items() if key not in LEFT_OUT}
    kept['embed_dim'] = vision['dim_embed']
    for block, (ours, theirs) in RENAMED.items():
        kept[ours] = vision[block][theirs]
    return kept


def build(folder: Path, dtype: str) -> torch.nn.Module:
    """Build the published network and fill it from a checkpoint by its own loader's rules."""
    from transformers import Florence2Config

    module = reference_module()
    config = json.loads((folder / 'config.json').read_text())
    florence = config['florence_config']
    text = florence['text_config'] | {'model_type': 'bart'}
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
    vision = native_vision(florence['vision_config'])
    native = Florence2Config(text_config=text, vision_config=vision)
    model = module.XVLAModel(settings, native, proprio_dim=20).eval()
    stored = load_file(folder / 'model.safetensors')
    state = {f'model.{name}': tensor for name, tensor in stored.items()}
    if module._is_vendored_florence_state_dict(state):
        state = module._remap_vendored_florence_state_dict(state)
    state = {name.removeprefix('model.'): tensor for name, tensor in state.items()}
    state.setdefault(EMBEDDED, state.get(SHARED))
    state.setdefault(SHARED, state[EMBEDDED])
    model.load_state_dict(state)
    return model


def main() -> None:
    """Write all stages' outputs, for one and for three valid views."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--checkpoint', type=Path, required=True)
    parser.add_argument('--size', choices=('small', 'full'), default='small')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    model, found = build(args.checkpoint, 'float32'), {}
    for views in (1, 3):
        data = seeded_inputs(args.size, views, args.seed)
        with torch.inference_mode():
            stages = outputs(model, data, args.steps)
        found |= {f'{name}_{views}': values for name, values in stages.items()}
    np.savez_compressed(args.out, **found)


if __name__ == '__main__':
    main()
