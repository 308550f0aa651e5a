# SPDX-License-Identifier: Apache-2.0
"""What lerobot-train writes with PEFT is a checkpoint: its base and its adapter, merged."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import load_policy
from xvla_ros.model.conversion import convert
from xvla_ros.model.inspection import inspect
from xvla_ros.testing.miniature import noise, observation

LAYER, TABLE = 'model.transformer.blocks.1.mlp.fc1', 'model.transformer.soft_prompt_hub'


@pytest.fixture(scope='module')
def base(checkpoint, tmp_path_factory):
    """Return a base as LeRobot publishes it."""
    folder = tmp_path_factory.mktemp('base') / 'xvla-base'
    convert(checkpoint, folder, 'lerobot')
    return folder


@pytest.fixture
def run(base, tmp_path):
    """Return the output folder of a lerobot-train run with PEFT, 0.6.1 (common/train_utils.py)."""
    folder = tmp_path / 'run' / 'checkpoints' / '000200' / 'pretrained_model'
    folder.mkdir(parents=True)
    (folder.parents[1] / 'last').symlink_to('000200')
    stored, generator = load_file(base / 'model.safetensors'), torch.Generator().manual_seed(3)
    rows, columns = stored[f'{LAYER}.weight'].shape
    shapes = {
        f'{LAYER}.lora_A.weight': (2, columns),
        f'{LAYER}.lora_B.weight': (rows, 2),
        f'{TABLE}.weight': stored[f'{TABLE}.weight'].shape,
    }
    tensors = {
        f'base_model.model.{name}': torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / 'adapter_model.safetensors')
    settings = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'base_model_name_or_path': str(base)}
    write(folder / 'adapter_config.json', settings)
    write(folder / 'config.json', read(base / 'config.json') | {'use_peft': True})
    write(folder / 'train_config.json', {})
    shutil.copy(base / 'preprocessor_config.json', folder)
    return tmp_path / 'run'


def inner(run):
    return run / 'checkpoints' / '000200' / 'pretrained_model'


def read(file):
    return json.loads(file.read_text())


def write(file, data):
    file.write_text(json.dumps(data))


def chunk(policy):
    return policy.predict(**observation(), noise=noise(policy))


@pytest.mark.parametrize('given', ['', 'checkpoints/last', 'checkpoints/last/pretrained_model'])
def test_the_folder_is_its_base_and_its_adapter_merged(run, base, given):
    whole = chunk(load_policy(run / given))
    np.testing.assert_array_equal(whole, chunk(load_policy(base, adapter=inner(run))))
    assert np.abs(whole - chunk(load_policy(base))).max() > 1e-3


def test_its_settings_are_its_own_and_without_any_those_of_its_base(run, base):
    config = inner(run) / 'config.json'
    write(config, read(config) | {'num_image_views': 4, 'tokenizer_max_length': 9})
    found = load_policy(run).config
    assert (found.view_slots, found.text_length) == (4, 9)
    config.unlink()
    assert load_policy(run).config == load_policy(base).config


def test_it_is_inspected_and_converted_as_what_it_merges_to(run, base, tmp_path):
    assert inspect(run).parameters == inspect(base).parameters
    assert inspect(run).adapter == str(checked(run))
    convert(run, tmp_path / 'whole', 'native')
    np.testing.assert_array_equal(chunk(load_policy(tmp_path / 'whole')), chunk(load_policy(run)))


def checked(run):
    return run / 'checkpoints' / 'last' / 'pretrained_model'


def refused(run, words, **options):
    for use in (lambda: load_policy(run, **options), lambda: inspect(run)):
        with pytest.raises(CheckpointError, match=words):
            use()
        if options:
            return


@pytest.mark.parametrize(
    ('base_named', 'words'),
    [
        ('/gone/xvla-base', r'its base is not here \(/gone/xvla-base: no such checkpoint'),
        (None, 'does not name its base'),
    ],
)
def test_a_base_that_is_missing_is_refused_by_name(run, base_named, words):
    file = inner(run) / 'adapter_config.json'
    write(file, read(file) | {'base_model_name_or_path': base_named})
    refused(run, words)


def test_a_base_that_is_an_adapter_and_a_second_adapter_are_refused(run):
    refused(run, 'expected one adapter', adapter=inner(run))
    other = shutil.copytree(inner(run), run / 'other')
    file = other / 'adapter_config.json'
    write(file, read(file) | {'base_model_name_or_path': str(inner(run))})
    refused(other, f'its base {inner(run)} is another one')


def test_a_base_that_does_not_fit_is_refused_by_tensor(run):
    config = inner(run) / 'config.json'
    write(config, read(config) | {'num_domains': 4})
    with pytest.raises(CheckpointError, match=r'transformer\.action_'):
        load_policy(run)
    write(config, read(config) | {'num_domains': 3})
    weights = inner(run) / 'adapter_model.safetensors'
    tensors = load_file(weights)
    name = f'base_model.model.{LAYER}.lora_B.weight'
    save_file({**tensors, name: tensors[name][:-1].contiguous()}, weights)
    with pytest.raises(CheckpointError, match=r'update of transformer\.blocks\.1\.mlp\.fc1\.we'):
        load_policy(run)
