# SPDX-License-Identifier: Apache-2.0
"""What users give as a checkpoint is found, or refused with what to give instead."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import load_policy
from xvla_ros.model.conversion import convert
from xvla_ros.model.inspection import inspect
from xvla_ros.testing.miniature import noise, observation

LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3512000000\n'


@pytest.fixture
def copied(checkpoint, tmp_path):
    """Return a copy of the checkpoint that a test may change."""
    return shutil.copytree(checkpoint, tmp_path / 'copy')


def chunk(folder, **options):
    policy = load_policy(folder, **options)
    return policy.predict(**observation(), noise=noise(policy))


@pytest.fixture
def trained(checkpoint, tmp_path):
    """Return the output folder of a lerobot-train run with two saved steps."""
    run = tmp_path / 'outputs' / 'train' / 'cup'
    for step in ('002500', '005000'):
        shutil.copytree(checkpoint, run / 'checkpoints' / step / 'pretrained_model')
        (run / 'checkpoints' / step / 'training_state').mkdir()
    (run / 'checkpoints' / 'last').symlink_to('005000')
    return run


@pytest.fixture
def cached(checkpoint, tmp_path, monkeypatch):
    """Return a model's folder in a Hugging Face cache: blobs, and a revision of links to them."""
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    monkeypatch.delenv('HF_HUB_CACHE', raising=False)
    model = tmp_path / 'hf' / 'hub' / 'models--lab--X-VLA-cup'
    for name in ('blobs', 'refs', 'snapshots/0123abc'):
        (model / name).mkdir(parents=True)
    for index, file in enumerate(sorted(checkpoint.iterdir())):
        shutil.copy(file, model / 'blobs' / f'b{index}')
        (model / 'snapshots/0123abc' / file.name).symlink_to(f'../../blobs/b{index}')
    (model / 'refs' / 'main').write_text('0123abc')
    return model


@pytest.mark.parametrize(
    'given',
    [
        '',
        'checkpoints',
        'checkpoints/last',
        'checkpoints/005000',
        'checkpoints/last/pretrained_model',
    ],
)
def test_the_folders_of_lerobot_train_lead_to_the_checkpoint(trained, given):
    found = checkpoint_folder(trained / given)
    assert found.resolve() == trained / 'checkpoints' / '005000' / 'pretrained_model'
    assert inspect(trained / given).path == str(found)


def test_a_run_without_a_last_checkpoint_names_those_it_has(trained):
    (trained / 'checkpoints' / 'last').unlink()
    with pytest.raises(CheckpointError, match=r'give one of .*002500/pretrained_model, .*005000/'):
        load_policy(trained)


@pytest.mark.parametrize('given', ['', 'snapshots', 'snapshots/0123abc'])
def test_a_model_in_the_hub_cache_is_found_by_any_of_its_folders(cached, checkpoint, given):
    assert np.array_equal(chunk(cached / given), chunk(checkpoint))


def test_a_model_in_the_hub_cache_is_found_by_its_name(cached, checkpoint):
    assert checkpoint_folder('lab/X-VLA-cup') == cached / 'snapshots' / '0123abc'
    assert np.array_equal(chunk('lab/X-VLA-cup'), chunk(checkpoint))


def test_two_revisions_without_a_main_are_named(cached):
    (cached / 'refs' / 'main').unlink()
    shutil.copytree(cached / 'snapshots/0123abc', cached / 'snapshots/4567def')
    with pytest.raises(CheckpointError, match=r'give one of .*0123abc, .*4567def'):
        checkpoint_folder(cached)


def test_a_hub_name_that_is_not_here_says_how_to_download_it(cached):
    with pytest.raises(CheckpointError, match='xvla fetch lerobot/xvla-base --out DIR'):
        load_policy('lerobot/xvla-base')


@pytest.mark.parametrize('name', ['ckpt', 'my models ü 日本'])
def test_a_home_folder_and_any_name_are_found(checkpoint, tmp_path, monkeypatch, name):
    monkeypatch.setenv('HOME', str(tmp_path))
    shutil.copytree(checkpoint, tmp_path / name)
    assert checkpoint_folder(f'~/{name}') == tmp_path / name
    assert np.array_equal(chunk(f'~/{name}'), chunk(checkpoint))


def test_a_bundled_checkpoint_is_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_policy('demo_policy').config.num_actions == 30


def test_a_relative_path_is_looked_up_here_only_where_that_is_meant(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(checkpoint.parent)
    assert checkpoint_folder(checkpoint.name).absolute() == checkpoint
    with pytest.raises(CheckpointError, match='no such checkpoint; looked for /'):
        checkpoint_folder(checkpoint.name, working_folder=False)


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ('', 'empty name'),
        ('~nobody_of_this_name/x', 'cannot be read'),
        ('/nowhere/at/all', 'no such checkpoint; looked for /nowhere/at/all$'),
        ('x' * 5000, 'cannot be read'),
    ],
)
def test_a_path_to_nothing_is_refused(given, words):
    with pytest.raises(CheckpointError, match=words):
        load_policy(given)


def test_a_file_and_an_empty_folder_are_told_apart(copied, tmp_path):
    with pytest.raises(CheckpointError, match='is a file, expected the directory'):
        load_policy(copied / 'model.safetensors')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(CheckpointError, match='it holds nothing'):
        load_policy(tmp_path / 'empty')
    (copied / 'config.json').unlink()
    with pytest.raises(
        CheckpointError, match=r'neither config\.json.*it holds model\.safetensors'
    ):
        load_policy(copied)


@pytest.mark.parametrize(
    ('base', 'named'), [('lerobot/xvla-base', 'lerobot/xvla-base'), (None, 'its base')]
)
@pytest.mark.parametrize('with_config', [True, False])
def test_an_adapter_whose_base_is_not_here_names_it(cached, copied, base, named, with_config):
    (copied / 'model.safetensors').rename(copied / 'adapter_model.safetensors')
    if not with_config:
        (copied / 'config.json').unlink()
    settings = {'peft_type': 'LORA', 'r': 8, 'base_model_name_or_path': base}
    (copied / 'adapter_config.json').write_text(json.dumps(settings))
    for use in (load_policy, inspect, lambda path: convert(path, copied / 'out', '2toinf')):
        with pytest.raises(CheckpointError, match=f'is a LoRA adapter.*give {named} as the'):
            use(copied)


@pytest.mark.parametrize(
    'name', ['model.safetensors', 'config.json', 'tokenizer.json', 'preprocessor_config.json']
)
def test_a_git_lfs_pointer_says_what_to_run(copied, name):
    (copied / name).write_text(LFS)
    with pytest.raises(CheckpointError, match=f'{name}: is a Git LFS pointer.*git lfs pull'):
        load_policy(copied)


def test_a_web_page_in_place_of_a_file_is_refused(copied):
    (copied / 'config.json').write_text('<!doctype html><html>')
    with pytest.raises(CheckpointError, match=r'config\.json: cannot be read as JSON'):
        load_policy(copied)


def test_a_byte_order_mark_is_skipped(checkpoint, copied):
    config = copied / 'config.json'
    config.write_bytes(b'\xef\xbb\xbf' + config.read_bytes())
    assert np.array_equal(chunk(copied), chunk(checkpoint))


@pytest.mark.parametrize(
    'wrapped',
    [
        lambda name: f'_orig_mod.{name}',
        lambda name: f'module.{name}',
        lambda name: f'module._orig_mod.{name}',
        lambda name: f'_fsdp_wrapped_module.{name}',
        lambda name: name.replace('transformer.', 'transformer._orig_mod.', 1),
    ],
)
@pytest.mark.parametrize('layout', ['2toinf', 'lerobot'])
def test_weights_of_a_compiled_or_distributed_model_load(checkpoint, tmp_path, wrapped, layout):
    convert(checkpoint, tmp_path / 'there', layout)
    file = tmp_path / 'there' / 'model.safetensors'
    save_file({wrapped(name): tensor for name, tensor in load_file(file).items()}, file)
    assert np.array_equal(chunk(tmp_path / 'there'), chunk(checkpoint))
    assert inspect(tmp_path / 'there').layout == layout


def test_weights_of_a_whole_peft_model_are_refused(copied):
    file = copied / 'model.safetensors'
    state = load_file(file)
    save_file({f'base_model.model.{name}': tensor for name, tensor in state.items()}, file)
    with pytest.raises(CheckpointError, match=r'base_model\.model.*merge_and_unload'):
        load_policy(copied)


def test_a_wrapped_and_a_plain_name_of_one_tensor_are_refused(copied):
    file = copied / 'model.safetensors'
    state = load_file(file)
    name = min(state)
    save_file({**state, f'_orig_mod.{name}': state[name] + 1}, file)
    with pytest.raises(CheckpointError, match='is also in'):
        load_policy(copied)
