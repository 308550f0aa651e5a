# SPDX-License-Identifier: Apache-2.0
"""A local predictor is the checkpoint that the settings name, with its adapter merged."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

from xvla_ros.core.errors import CheckpointError, ConfigError
from xvla_ros.core.settings import PolicySettings
from xvla_ros.model import load_policy
from xvla_ros.runtime.predictor import make_predictor
from xvla_ros.testing.miniature import noise, observation, write_small

LAYER = 'transformer.blocks.0.attn.qkv'


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Return a checkpoint and an adapter for it."""
    base = write_small(tmp_path_factory.mktemp('base'))
    adapter = tmp_path_factory.mktemp('adapter')
    rows, columns = load_file(base / 'model.safetensors')[f'{LAYER}.weight'].shape
    generator = torch.Generator().manual_seed(1)
    save_file(
        {
            f'base_model.model.{LAYER}.lora_A.weight': torch.randn(
                2, columns, generator=generator
            ),
            f'base_model.model.{LAYER}.lora_B.weight': torch.randn(rows, 2, generator=generator),
        },
        adapter / 'adapter_model.safetensors',
    )
    settings = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4}
    (adapter / 'adapter_config.json').write_text(json.dumps(settings))
    return base, adapter


def settings(**changes):
    return PolicySettings(domain_id=1, anchor_period_s=0.1, **changes)


def chunk(policy):
    return policy.predict(**observation(), noise=noise(policy))


def test_the_adapter_of_the_settings_is_merged(folders):
    base, adapter = folders
    predictor, _ = make_predictor(settings(checkpoint=str(base), adapter=str(adapter)))
    assert np.array_equal(chunk(predictor), chunk(load_policy(base, adapter=adapter)))
    plain, _ = make_predictor(settings(checkpoint=str(base)))
    assert np.abs(chunk(predictor) - chunk(plain)).max() > 1e-3


def test_paths_of_the_settings_are_found_as_those_of_the_tools(folders, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    base, adapter = folders
    shutil.copytree(base, tmp_path / 'run/checkpoints/last/pretrained_model')
    shutil.copytree(adapter, tmp_path / 'lora')
    predictor, _ = make_predictor(settings(checkpoint='~/run', adapter='~/lora'))
    assert np.array_equal(chunk(predictor), chunk(load_policy(base, adapter=adapter)))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({}, 'exactly one of'),
        ({'checkpoint': 'demo_policy', 'server_url': 'http://x:1'}, 'exactly one of'),
        ({'server_url': 'http://x:1', 'adapter': 'lora'}, 'give the adapter to the server'),
        ({'checkpoint': 'no_such_policy'}, 'no_such_policy: no such checkpoint'),
        ({'checkpoint': 'demo_policy', 'adapter': '/no/lora'}, '/no/lora: no such checkpoint'),
        ({'checkpoint': 'demo_policy', 'adapter': 'demo_policy'}, 'is no LoRA adapter'),
    ],
)
def test_settings_that_name_no_predictor_are_refused(changes, words):
    with pytest.raises((ConfigError, CheckpointError), match=words):
        make_predictor(settings(**changes))
