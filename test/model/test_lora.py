# SPDX-License-Identifier: Apache-2.0
"""A LoRA adapter is merged on load, or refused."""

import json

import numpy as np
from peft import get_peft_model, LoraConfig
import pytest
from safetensors.torch import load_file, save_file
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import load_policy
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.conversion import convert
from xvla_ros.model.lora import Adapter, read_adapter
from xvla_ros.model.reading import read_config
from xvla_ros.testing.miniature import noise, observation

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


LINEAR, OTHER = 'transformer.blocks.0.attn.qkv', 'transformer.blocks.1.mlp.fc1'
CONVOLUTION, POINTWISE = 'vlm.vision_tower.convs.1.conv', 'vlm.vision_tower.convs.0.conv'
TABLE = 'transformer.soft_prompt_hub'


def trained(base, folder, convert_to=None, **settings):
    """Train a real PEFT adapter a little, save it, and return the state it merges to."""
    network = load_network(base, read_config(base), torch.float32).requires_grad_(True)
    settings = {'r': 4, 'lora_alpha': 6, 'target_modules': [LINEAR, OTHER]} | settings
    model = get_peft_model(network, LoraConfig(**settings))
    if convert_to:
        model.peft_config['default'].init_lora_weights = True
        model.save_pretrained(convert_to)
        model.peft_config['default'].init_lora_weights = settings['init_lora_weights']
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder, path_initial_model_for_weight_conversion=convert_to)
    return model.merge_and_unload().state_dict()


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'use_rslora': True},
        {'bias': 'all'},
        {'bias': 'lora_only'},
        {'lora_bias': True},
        {'init_lora_weights': 'gaussian'},
        {'init_lora_weights': 'orthogonal'},
        {'rank_pattern': {OTHER: 2}, 'alpha_pattern': {'blocks.1.mlp.fc1': 3, 'nowhere': 9}},
        {'rank_pattern': {r'blocks\.\d+\.mlp\.fc.': 8}, 'use_rslora': True},
        {'target_modules': [CONVOLUTION, LINEAR]},
        {'target_modules': [CONVOLUTION, POINTWISE], 'r': 1, 'use_rslora': True},
        {'target_modules': [TABLE, LINEAR]},
        {'modules_to_save': ['soft_prompt_hub', 'action_decoder'], 'bias': 'lora_only'},
    ],
    ids=str,
)
def test_a_real_adapter_merges_as_peft_merges_it(checkpoint, tmp_path, settings):
    expected = trained(checkpoint, tmp_path / 'adapter', **settings)
    config = read_config(checkpoint)
    adapter = Adapter(tmp_path / 'adapter')
    merged = load_network(checkpoint, config, torch.float32, adapter).state_dict()
    base = load_network(checkpoint, config, torch.float32).state_dict()
    assert merged.keys() == expected.keys()
    assert any(not torch.equal(merged[name], base[name]) for name in base)
    for name, tensor in expected.items():
        assert torch.allclose(merged[name], tensor, rtol=0, atol=1e-6), name
    again = load_network(checkpoint, config, torch.float32, adapter).state_dict()
    assert all(torch.equal(again[name], merged[name]) for name in merged)


@pytest.mark.parametrize('start', ['pissa', 'olora'])
def test_an_adapter_that_began_by_changing_the_base_is_refused_until_peft_rewrites_it(
    checkpoint, tmp_path, start
):
    trained(checkpoint, tmp_path / 'raw', init_lora_weights=start)
    with pytest.raises(CheckpointError, match=rf"init_lora_weights is '{start}'.*{LINEAR}"):
        load_policy(checkpoint, adapter=tmp_path / 'raw')
    expected = trained(
        checkpoint, tmp_path / 'plain', str(tmp_path / 'initial'), init_lora_weights=start
    )
    adapter = Adapter(tmp_path / 'plain')
    merged = load_network(checkpoint, read_config(checkpoint), torch.float32, adapter)
    for name, tensor in merged.state_dict().items():
        assert torch.allclose(tensor, expected[name], rtol=0, atol=1e-5), name


@pytest.mark.parametrize(
    ('setting', 'value'),
    [
        ('init_lora_weights', 'pissa_niter_4'),
        ('init_lora_weights', 'corda'),
        ('init_lora_weights', 'loftq'),
        ('init_lora_weights', 'lora_ga'),
        ('init_lora_weights', 'mica'),
        ('init_lora_weights', 'of_tomorrow'),
        ('use_dora', True),
        ('use_qalora', True),
        ('fan_in_fan_out', True),
        ('layer_replication', [[0, 2], [1, 3]]),
        ('alora_invocation_tokens', [5, 6]),
        ('trainable_token_indices', [1]),
        ('target_parameters', ['pos_emb']),
        ('kasa_config', {'beta': 1.0}),
        ('a_setting_of_tomorrow', 1),
    ],
)
def test_a_setting_that_changes_base_or_activation_is_refused_with_a_layer(
    checkpoint, tmp_path, setting, value
):
    write_adapter(tmp_path / 'adapter', checkpoint, **{setting: value})
    with pytest.raises(CheckpointError, match=f'{setting} is .*, expected .*layer {FC1}'):
        load_policy(checkpoint, adapter=tmp_path / 'adapter')


@pytest.mark.parametrize(
    'settings',
    [
        {'r': 0},
        {'r': 2.5},
        {'r': True},
        {'r': '2'},
        {'r': None},
        {'r': 4},
        {'lora_alpha': '4'},
        {'lora_alpha': float('nan')},
        {'lora_alpha': 0},
        {'bias': 'some'},
        {'peft_type': 'LOHA'},
        {'rank_pattern': {'(': 2}},
        {'rank_pattern': [2]},
        {'rank_pattern': {'fc1': 3}},
    ],
    ids=str,
)
def test_settings_that_are_malformed_or_fit_no_tensor_are_refused(checkpoint, tmp_path, settings):
    write_adapter(tmp_path / 'adapter', checkpoint, **settings)
    with pytest.raises(CheckpointError, match=r'adapter.*expected|settings say|is no pattern'):
        load_policy(checkpoint, adapter=tmp_path / 'adapter')


def test_settings_of_newer_versions_that_are_empty_are_accepted(checkpoint, tmp_path):
    empty = {'arrow_config': None, 'use_bdlora': None, 'of_tomorrow': [], 'qalora_group_size': 16}
    write_adapter(tmp_path / 'adapter', checkpoint, init_lora_weights='eva', **empty)
    load_policy(checkpoint, adapter=tmp_path / 'adapter')


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        (f'{FC1}.lora_magnitude_vector', (64,)),
        (f'{FC1}.lora_A.weight', (2, 3, 5, 5)),
        (f'{FC1}.lora_embedding_A', (2, 3)),
    ],
)
def test_a_tensor_that_is_no_part_of_a_plain_update_is_named(checkpoint, tmp_path, name, shape):
    folder = tmp_path / 'adapter'
    tensors = write_adapter(folder, checkpoint)
    save_file(
        tensors | {f'base_model.model.{name}': torch.ones(shape)},
        folder / 'adapter_model.safetensors',
    )
    with pytest.raises(CheckpointError, match=FC1):
        load_policy(checkpoint, adapter=folder)


def test_a_grouped_convolution_is_refused_by_name(checkpoint, tmp_path):
    layer = 'vlm.vision_tower.blocks.0.0.spatial_block.conv1'
    with pytest.raises(NotImplementedError):  # PEFT cannot merge it either
        trained(checkpoint, tmp_path / 'adapter', r=16, target_modules=[layer])
    with pytest.raises(CheckpointError, match=layer):
        load_policy(checkpoint, adapter=tmp_path / 'adapter')


def test_a_checkpoint_given_as_an_adapter_is_told_apart(checkpoint):
    with pytest.raises(CheckpointError, match='no LoRA adapter; a whole checkpoint'):
        read_adapter(checkpoint)


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
