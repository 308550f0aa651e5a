# SPDX-License-Identifier: Apache-2.0
"""Layers whose products are of 8-bit integers, and those that stay in float32."""

import json
import shutil

import numpy as np
import pytest
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.core.resources import shared_file
from xvla_ros.model import load_policy
from xvla_ros.model.backends.int8 import (
    can_round,
    FLOAT_LAYERS,
    Int8Linear,
    largest_weight,
    linear_layers,
    pack_int8,
)
from xvla_ros.testing.miniature import noise, observation, small_network

pytestmark = pytest.mark.skipif(not can_round(), reason='this torch has no integer products')


@pytest.mark.parametrize('gelu', [None, 'tanh', 'erf'])
@pytest.mark.parametrize('shift', [0.0, 3.0, -3.0])
def test_a_rounded_layer_is_as_near_as_its_steps_allow(gelu, shift):
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(64, 48).requires_grad_(False), torch.randn(2, 7, 64) + shift
    exact = linear(x)
    if gelu:
        exact = torch.nn.functional.gelu(exact, approximate='tanh' if gelu == 'tanh' else 'none')
    rounded = Int8Linear(linear, gelu=gelu)(x)
    assert rounded.shape == exact.shape
    # Half a step of weight and input in each of 64 products, a quarter of them the same way.
    weight, size, width = linear.weight.abs().amax(), x.abs().amax(), torch.clamp(x, min=0).max()
    width = width - torch.clamp(x, max=0).min()
    worst = 64 * (size * weight / (2 * largest_weight()) + weight * width / 510)
    assert (rounded - exact).abs().max() <= worst / 4
    assert torch.equal(rounded, Int8Linear(linear, gelu=gelu)(x))


def test_the_largest_products_are_added_without_overflow():
    """Without VNNI a processor adds pairs of products in 16 bits."""
    linear = torch.nn.Linear(64, 48, bias=False).requires_grad_(False)
    linear.weight.fill_(0.5)
    out = Int8Linear(linear)(torch.ones(3, 64))
    assert torch.allclose(out, torch.full((3, 48), 32.0), rtol=1e-5)


def test_a_layer_of_zeros_gives_its_bias():
    linear = torch.nn.Linear(8, 8).requires_grad_(False)
    linear.weight.zero_()
    out = Int8Linear(linear)(torch.zeros(3, 8))
    assert torch.allclose(out, linear.bias.expand(3, 8))


def test_named_layers_stay_in_float32_and_the_rest_is_rounded():
    network = small_network().eval().requires_grad_(False)
    kept = linear_layers(network)[:3]
    pack_int8(network, float_layers=kept)
    rounded = {n for n, m in network.named_modules() if isinstance(m, Int8Linear)}
    assert rounded
    assert not rounded & set(kept)
    assert not any(isinstance(m, torch.nn.Linear) for m in network.modules())


def test_what_cannot_be_rounded_is_refused():
    network = small_network().eval().requires_grad_(False)
    with pytest.raises(CheckpointError, match='dtype int8 needs oneDNN'):
        pack_int8(network, 'cuda')
    with pytest.raises(CheckpointError, match=r'the network has no layer head\.7'):
        pack_int8(network, float_layers=['head.7'])


def test_fewer_rounded_layers_bring_the_demo_policy_nearer_to_float32(tmp_path):
    source = shared_file('resource', 'demo_policy')
    folder = tmp_path / 'copy'
    shutil.copytree(source, folder)
    exact = load_policy(folder)
    asked = observation() | {'noise': noise(exact)}
    rounded = load_policy(folder, dtype='int8')
    layers = linear_layers(exact_network(folder))
    (folder / FLOAT_LAYERS).write_text(json.dumps({'float_layers': layers}))
    restored = load_policy(folder, dtype='int8')
    answers = [p.predict(**asked) for p in (exact, rounded, restored)]
    assert np.array_equal(answers[0], answers[2])
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.05
    (folder / FLOAT_LAYERS).write_text('{}')
    with pytest.raises(CheckpointError, match='expected an object with float_layers'):
        load_policy(folder, dtype='int8')


def exact_network(folder):
    from xvla_ros.model.checkpoint import load_network
    from xvla_ros.model.reading import read_config

    return load_network(folder, read_config(folder), torch.float32)
