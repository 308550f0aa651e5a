# SPDX-License-Identifier: Apache-2.0
"""Checkpoints load in every layout to the same outputs, and a wrong one is refused by name."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

from xvla_ros.adapt.demo.small_network import demo_config, demo_json
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import build_network, load_policy, parse_config
from xvla_ros.model.config import authors_json
from xvla_ros.model.conversion import convert
from xvla_ros.model.florence import vision_settings
from xvla_ros.model.inspection import inspect
from xvla_ros.model.layouts import from_network, LAYOUTS, to_network
from xvla_ros.testing.miniature import noise, observation, small_json, small_network, write_small

PROMPTS = 'transformer.soft_prompt_hub.weight'


@pytest.fixture
def copied(checkpoint, tmp_path):
    """Return a copy of the checkpoint that a test may damage."""
    return shutil.copytree(checkpoint, tmp_path / 'copy')


def rewrite(folder, change):
    """Apply a change to the stored tensors."""
    state = load_file(folder / 'model.safetensors')
    change(state)
    save_file(state, folder / 'model.safetensors')


def chunk(folder, **options):
    policy = load_policy(folder, **options)
    return policy.predict(**observation(), noise=noise(policy))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_the_same_chunk(checkpoint, tmp_path, layout):
    convert(checkpoint, tmp_path / 'there', layout)
    assert inspect(tmp_path / 'there').layout == layout
    assert np.array_equal(chunk(tmp_path / 'there'), chunk(checkpoint))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_converting_there_and_back_restores_every_byte_of_every_tensor(
    checkpoint, tmp_path, layout
):
    convert(checkpoint, tmp_path / 'there', layout)
    convert(tmp_path / 'there', tmp_path / 'back', '2toinf')
    before = load_file(checkpoint / 'model.safetensors')
    after = load_file(tmp_path / 'back' / 'model.safetensors')
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    configs = [
        json.loads((f / 'config.json').read_text()) for f in (checkpoint, tmp_path / 'back')
    ]
    assert parse_config(configs[0]).florence == parse_config(configs[1]).florence
    assert configs[0]['xvla_ros'] == configs[1]['xvla_ros']


@pytest.mark.parametrize('layout', LAYOUTS)
def test_names_translate_there_and_back(checkpoint, layout):
    for stored in load_file(checkpoint / 'model.safetensors'):
        name = to_network(stored)
        assert to_network(from_network(name, layout)) == name


@pytest.mark.parametrize('alias', ['shared', 'encoder.embed_tokens'])
def test_either_alias_of_the_tied_embedding_will_do(checkpoint, copied, alias):
    def rename(state):
        base = 'vlm.language_model.model.'
        state[f'{base}{alias}.weight'] = state.pop(f'{base}shared.weight')

    rewrite(copied, rename)
    assert np.array_equal(chunk(copied), chunk(checkpoint))


def test_aliases_that_differ_are_refused(copied):
    def disagree(state):
        base = 'vlm.language_model.model.'
        state[f'{base}encoder.embed_tokens.weight'] = state[f'{base}shared.weight'] + 1

    rewrite(copied, disagree)
    with pytest.raises(CheckpointError, match='differ'):
        load_policy(copied)


def test_shards_give_the_same_chunk(checkpoint, copied):
    state = load_file(copied / 'model.safetensors')
    names = sorted(state)
    (copied / 'model.safetensors').unlink()
    halves = {'a.safetensors': names[::2], 'b.safetensors': names[1::2]}
    for file, part in halves.items():
        save_file({name: state[name] for name in part}, copied / file)
    index = {'weight_map': {name: file for file, part in halves.items() for name in part}}
    (copied / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert np.array_equal(chunk(copied), chunk(checkpoint))
    (copied / 'b.safetensors').unlink()
    with pytest.raises(CheckpointError, match=r'b\.safetensors: missing'):
        load_policy(copied)


def test_a_missing_tensor_is_named(copied):
    rewrite(copied, lambda state: state.pop(PROMPTS))
    with pytest.raises(CheckpointError, match=f'{PROMPTS} missing'):
        load_policy(copied)


def test_a_missing_tensor_is_named_as_it_is_stored(copied, tmp_path):
    convert(copied, tmp_path / 'there', 'lerobot')
    name = 'model.vlm.image_projection'
    rewrite(tmp_path / 'there', lambda state: state.pop(name))
    with pytest.raises(CheckpointError, match=f'{name} missing'):
        load_policy(tmp_path / 'there')


def test_an_unknown_tensor_is_named(copied):
    rewrite(copied, lambda state: state.update({'transformer.extra': torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r'transformer\.extra not part of the network'):
        load_policy(copied)


def test_a_misshapen_tensor_is_named_with_both_shapes(copied):
    rewrite(copied, lambda state: state.update({PROMPTS: torch.zeros(3, 5)}))
    with pytest.raises(CheckpointError, match=rf'{PROMPTS} is \(3, 5\).*\(3, 128\)'):
        load_policy(copied)


def test_a_tensor_that_is_not_finite_is_named(copied):
    def poison(state):
        state[PROMPTS][1, 7] = float('nan')

    rewrite(copied, poison)
    with pytest.raises(CheckpointError, match=f'{PROMPTS} is not finite'):
        load_policy(copied)


@pytest.mark.parametrize('kept', [0, 3, 100, 5_000, 200_000, -1])
def test_a_cut_file_is_refused(copied, kept):
    file = copied / 'model.safetensors'
    data = file.read_bytes()[:kept]
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf'model\.safetensors: {len(data)} bytes, cut or'):
        load_policy(copied)


def test_a_file_that_is_not_safetensors_is_refused(copied):
    (copied / 'model.safetensors').write_bytes(b'\x08' + bytes(7) + b'not json' + bytes(99))
    with pytest.raises(CheckpointError, match='not safetensors'):
        load_policy(copied)


def test_pickled_weights_are_never_read(copied):
    (copied / 'model.safetensors').rename(copied / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match='only safetensors'):
        load_policy(copied)


@pytest.mark.parametrize('key', ['num_actions', 'hidden_size', 'max_len_seq', 'florence_config'])
def test_a_config_without_a_number_the_shape_needs_is_refused(key):
    data = small_json()
    del data[key]
    with pytest.raises(CheckpointError, match=key):
        parse_config(data)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'num_actions': '6'}, "num_actions is '6'"),
        ({'action_mode': 'ee7d'}, 'ee7d.*unknown'),
        ({'xvla_ros': {'text_lenght': 8}}, 'text_lenght'),
        ({'num_actions': 200}, 'do not fit max_len_seq'),
        ({'num_heads': 5}, 'num_heads'),
        ({'hidden_size': 0}, 'hidden_size is 0'),
        ({'xvla_ros': None}, 'xvla_ros'),
        ({'xvla_ros': {'text_length': 8, 'view_slots': 0}}, 'view_slots is 0'),
        ({'idx_for_delta': [0, 1]}, 'idx_for_delta'),
        ({'idx_for_mask_proprio': [12]}, 'idx_for_mask_proprio'),
        ({'normalization_mapping': {'VISUAL': 'MEAN_STD', 'ACTION': 'IDENTITY'}}, 'VISUAL is'),
        (
            {'action_mode': 'auto', 'max_action_dim': 20, 'real_action_dim': 26},
            'real_action_dim 26 is more than',
        ),
    ],
)
def test_a_config_with_a_wrong_value_is_refused(tmp_path, checkpoint, change, named):
    folder = shutil.copytree(checkpoint, tmp_path / 'copy')
    (folder / 'config.json').write_text(json.dumps(small_json(**change)))
    with pytest.raises(CheckpointError, match=named):
        load_policy(folder)


def lerobot_json(**changes):
    """Return a config.json as lerobot's X-VLA policy writes it."""
    data = small_json()
    for key in ('num_actions', 'xvla_ros'):
        del data[key]
    cameras = {f'observation.images.{n}': {'type': 'VISUAL'} for n in ('image', 'image2')}
    return (
        data
        | {
            'chunk_size': 6,
            'max_state_dim': 20,
            'max_action_dim': 20,
            'tokenizer_max_length': 50,
            'empty_cameras': 1,
            'input_features': cameras | {'observation.state': {'type': 'STATE', 'shape': [8]}},
            'output_features': {'action': {'type': 'ACTION', 'shape': [7]}},
        }
        | changes
    )


@pytest.mark.parametrize(
    ('views', 'empty', 'added', 'slots'),
    [
        (None, None, 0, 2),
        (None, 1, 0, 3),
        (2, 1, 0, 3),
        (5, 0, 0, 5),
        (3, 1, 1, 3),  # as lerobot saves two cameras and an empty one after training
        (None, 1, 1, 3),
        (None, 0, 1, 3),
        (4, 2, 2, 4),
        (4, 1, 1, 4),  # saved, loaded by lerobot, trained on with a slot more, and saved again
    ],
)
def test_lerobots_empty_cameras_are_counted_once(views, empty, added, slots):
    data = lerobot_json(num_image_views=views, empty_cameras=empty)
    for index in range(added):
        data['input_features'][f'observation.images.empty_camera_{index}'] = {'type': 'VISUAL'}
    assert parse_config(data).view_slots == slots


@pytest.mark.parametrize('part', ['text_config', 'vision_config'])
def test_half_of_florences_config_is_refused(copied, part):
    data = small_json()
    del data['florence_config'][part]
    (copied / 'config.json').write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r'florence_config.*missing'):
        load_policy(copied)


@pytest.mark.parametrize('layout', ['lerobot', 'native'])
def test_a_conversion_keeps_the_state_and_the_image_size(copied, tmp_path, layout):
    """The authors' files say `use_proprio` and their code never reads it; lerobot's does."""
    (copied / 'config.json').write_text(json.dumps(small_json(use_proprio=False)))
    convert(copied, tmp_path / layout, layout)
    policy = load_policy(tmp_path / layout)
    assert policy.network.dim_proprio == 20
    data = json.loads((tmp_path / layout / 'config.json').read_text())
    assert data['resize_imgs_with_padding'] == list(policy.images.size)


def test_two_names_for_one_tensor_are_refused(copied):
    name = 'transformer.norm.weight'
    rewrite(copied, lambda state: state.update({f'model.{name}': state[name] + 1}))
    with pytest.raises(CheckpointError, match='are the same tensor'):
        load_policy(copied)


@pytest.mark.parametrize('dtype', [torch.float8_e4m3fn, torch.int32])
def test_weights_that_are_no_plain_floats_are_refused(copied, dtype):
    name = 'transformer.norm.weight'
    rewrite(copied, lambda state: state.update({name: state[name].to(dtype)}))
    with pytest.raises(CheckpointError, match=r'transformer\.norm\.weight is (F8|I32)'):
        load_policy(copied)


def test_inspecting_half_a_checkpoint_names_what_is_missing(copied):
    rewrite(copied, lambda state: state.pop('transformer.soft_prompt_hub.weight'))
    with pytest.raises(CheckpointError, match=r'soft_prompt_hub\.weight missing'):
        inspect(copied)


def test_lerobots_config_is_read_in_its_own_words():
    config = parse_config(lerobot_json())
    assert (config.num_actions, config.text_length, config.view_slots) == (6, 50, 3)
    assert (config.dim_proprio, config.real_action_dim) == (20, 7)


def test_lerobots_config_without_proprioception_has_no_channels_for_it():
    network = build_network(parse_config(lerobot_json(use_proprio=False)))
    assert network.dim_proprio == 0
    assert network.transformer.action_encoder.dim_in == 20 + 32
    proprio, actions = network.mode.preprocess(torch.zeros(1, 0), torch.ones(1, 6, 20))
    assert proprio.shape == (1, 0)
    assert (actions[..., [9, 19]] == 0).all()


def test_lerobots_config_without_its_own_lengths_is_refused():
    data = lerobot_json()
    del data['tokenizer_max_length']
    with pytest.raises(CheckpointError, match='tokenizer_max_length'):
        parse_config(data)


def test_microsofts_vision_config_is_translated_and_positions_are_never_a_default():
    vision = small_json()['florence_config']['vision_config']
    settings = vision_settings(vision)
    assert settings['embed_dim'] == [16, 32]
    assert settings['max_position_embeddings'] == 10
    data = small_json()
    del data['florence_config']['text_config']['max_position_embeddings']
    config = parse_config(data)
    with pytest.raises(CheckpointError, match='max_position_embeddings missing'):
        build_network(config)


def test_transformers_vision_config_is_written_with_microsofts_names_too():
    """The authors' code and lerobot 0.4 know no others."""
    vision = demo_json()['florence_config']['vision_config']
    written = authors_json(demo_config())['florence_config']
    assert written['projection_dim'] == vision['projection_dim']
    assert written['vision_config']['dim_embed'] == vision['embed_dim']
    places = written['vision_config']['image_pos_embed']['max_pos_embeddings']
    assert places == vision['max_position_embeddings']
    assert vision_settings(written['vision_config']) == vision_settings(vision)


def test_weights_stored_in_half_precision_load_into_the_dtype_asked_for(tmp_path):
    folder = write_small(tmp_path, dtype=torch.float16)
    assert chunk(folder).dtype == np.float32
    exact = chunk(write_small(tmp_path / 'full'))
    assert np.abs(chunk(folder) - exact).max() < 5e-3
    assert np.abs(chunk(folder, dtype='bfloat16') - exact).max() < 0.05


def test_inspection_says_what_a_checkpoint_is(checkpoint):
    found = inspect(checkpoint)
    assert found.layout == '2toinf'
    assert [row.trained for row in found.rows] == [True, True, True]
    assert found.similarity.shape == (3, 3)
    stored = sum(t.numel() for t in small_network().parameters())
    assert 0 <= found.parameters - stored < 400  # the buffers
