# SPDX-License-Identifier: Apache-2.0
"""A domain row counts as untrained only where the weights prove it: a robot is refused by it."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
import torch

from xvla_ros.core.resources import shared_file
from xvla_ros.model import load_policy
from xvla_ros.model.inspection import inspect

ENCODER, DECODER = (f'transformer.action_{side}.bias.weight' for side in ('encoder', 'decoder'))
HUB = 'transformer.soft_prompt_hub.weight'


@pytest.fixture
def trained(checkpoint, tmp_path):
    """
    Return a function that changes a copy's stored tensors and says what is trained then.

    `xvla inspect`, which reads the files alone, must say the same.
    """
    folder = shutil.copytree(checkpoint, tmp_path / 'copy')

    def answer(change, adapter=None):
        state = load_file(folder / 'model.safetensors')
        change(state)
        save_file(state, folder / 'model.safetensors')
        known = load_policy(folder, adapter=adapter).trained_domains
        if adapter is None:
            assert inspected(folder) == known
        return known

    return answer


def inspected(folder):
    rows = inspect(folder).rows
    if any(row.trained is None for row in rows):
        return None
    return tuple(row.domain_id for row in rows if row.trained)


@pytest.fixture
def adapter(tmp_path):
    """Return a function that writes an adapter of replaced tables."""

    def write(tensors):
        folder = tmp_path / 'adapter'
        folder.mkdir()
        named = {f'base_model.model.{name}': tensor for name, tensor in tensors.items()}
        save_file(named, folder / 'adapter_model.safetensors')
        settings = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4}
        (folder / 'adapter_config.json').write_text(json.dumps(settings))
        return folder

    return write


def silence(*rows, tables=(ENCODER, DECODER)):
    """Return a change that sets rows of tables back to zero."""

    def change(state):
        for table in tables:
            state[table][list(rows)] = 0.0

    return change


def test_a_row_whose_biases_are_still_zero_was_never_trained(trained):
    assert trained(silence()) == (0, 1, 2)
    assert trained(silence(1)) == (0, 2)


def test_one_bias_is_enough_and_prompts_prove_nothing(trained):
    assert trained(silence(0, 1, tables=(ENCODER,))) == (0, 1, 2)

    def decay(state):
        silence(1)(state)
        state[DECODER][1, 3] = 1e-7
        state[HUB][1] = 0.02 * torch.randn(128, generator=torch.Generator().manual_seed(0))

    assert trained(decay) == (0, 1, 2)


def test_where_no_row_has_a_bias_nothing_is_claimed(trained):
    assert trained(silence(0, 1, 2)) is None


def test_an_adapter_counts_as_training_of_what_it_touches(trained, adapter, checkpoint):
    biases = load_file(checkpoint / 'model.safetensors')[DECODER]
    biases[[0, 2]] = 0.0
    folder = adapter({DECODER: biases})
    assert trained(silence(0, 1)) == (2,)
    assert trained(silence(), folder) == (1, 2)


def test_an_adapter_without_biases_leaves_the_question_open(trained, adapter, checkpoint):
    prompts = load_file(checkpoint / 'model.safetensors')[HUB]
    assert trained(silence(1), adapter({HUB: prompts + 0.1})) is None


def test_the_demo_policys_rows_are_trained_but_the_spare_one():
    path = shared_file('resource', 'demo_policy')
    assert load_policy(path).trained_domains == inspected(path) == (0, 1, 2)
