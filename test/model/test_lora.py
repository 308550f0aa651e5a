# SPDX-License-Identifier: Apache-2.0
"""A LoRA adapter is merged on load, or refused."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import load_policy
from xvla_ros.model.conversion import convert
from xvla_ros.model.miniature import noise, observation

QKV = 'vlm.vision_tower.blocks.0.0.spatial_block.window_attn.fn.qkv'
FC1 = 'transformer.blocks.1.mlp.fc1'
HUB = 'transformer.soft_prompt_hub.weight'


def write_adapter(folder, base, **settings):
    """Write an adapter of rank 2 for two layers and one replaced table; return its tensors."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    stored = load_file(base / 'model.safetensors')
    tensors = {f'base_model.model.{HUB}': torch.randn(stored[HUB].shape, generator=generator)}
    for module in (QKV, FC1):
        rows, columns = stored[f'{module}.weight'].shape
        tensors[f'base_model.model.{module}.lora_A.weight'] = torch.randn(
            2, columns, generator=generator
        )
        tensors[f'base_model.model.{module}.lora_B.weight'] = torch.randn(
            rows, 2, generator=generator
        )
    save_file(tensors, folder / 'adapter_model.safetensors')
    config = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4} | settings
    (folder / 'adapter_config.json').write_text(json.dumps(config))
    return tensors


def test_an_adapter_merges_as_its_formula_says(checkpoint, tmp_path):
    adapter = write_adapter(tmp_path / 'adapter', checkpoint)
    convert(checkpoint, tmp_path / 'merged', '2toinf', adapter=tmp_path / 'adapter')
    before = load_file(checkpoint / 'model.safetensors')
    after = load_file(tmp_path / 'merged' / 'model.safetensors')
    for module in (QKV, FC1):
        a, b = (adapter[f'base_model.model.{module}.lora_{side}.weight'] for side in 'AB')
        expected = before[f'{module}.weight'] + 2.0 * b @ a
        assert torch.allclose(after[f'{module}.weight'], expected, atol=1e-5)
    assert torch.equal(after[HUB], adapter[f'base_model.model.{HUB}'])
    changed = {f'{QKV}.weight', f'{FC1}.weight', HUB}
    assert all(torch.equal(after[n], before[n]) for n in before if n not in changed)


def test_loading_with_an_adapter_equals_loading_the_merged_checkpoint(checkpoint, tmp_path):
    write_adapter(tmp_path / 'adapter', checkpoint)
    convert(checkpoint, tmp_path / 'merged', 'native', adapter=tmp_path / 'adapter')
    chunks = []
    for path, adapter in ((tmp_path / 'merged', None), (checkpoint, tmp_path / 'adapter')):
        policy = load_policy(path, adapter=adapter)
        chunks.append(policy.predict(**observation(), noise=noise(policy)))
    assert np.array_equal(*chunks)


@pytest.mark.parametrize('setting', ['use_dora', 'fan_in_fan_out'])
def test_an_adapter_that_is_not_plain_lora_is_refused(checkpoint, tmp_path, setting):
    write_adapter(tmp_path / 'adapter', checkpoint, **{setting: True})
    with pytest.raises(CheckpointError, match=setting):
        load_policy(checkpoint, adapter=tmp_path / 'adapter')


@pytest.mark.parametrize(
    ('change', 'named'),
    [(lambda b: b.repeat(1, 2), 'have ranks'), (lambda b: b * float('nan'), 'not finite with')],
)
def test_an_adapter_that_cannot_be_added_is_refused(checkpoint, tmp_path, change, named):
    folder = tmp_path / 'adapter'
    tensors = write_adapter(folder, checkpoint)
    name = f'base_model.model.{FC1}.lora_B.weight'
    save_file(tensors | {name: change(tensors[name])}, folder / 'adapter_model.safetensors')
    with pytest.raises(CheckpointError, match=named):
        load_policy(checkpoint, adapter=folder)


def test_an_adapter_for_a_tensor_the_base_lacks_is_refused(checkpoint, tmp_path):
    tensors = write_adapter(tmp_path / 'adapter', checkpoint)
    for side in 'AB':
        old = f'base_model.model.{FC1}.lora_{side}.weight'
        tensors[old.replace('blocks.1', 'blocks.9')] = tensors.pop(old)
    save_file(tensors, tmp_path / 'adapter' / 'adapter_model.safetensors')
    with pytest.raises(CheckpointError, match=r'the base has no transformer\.blocks\.9'):
        load_policy(checkpoint, adapter=tmp_path / 'adapter')
