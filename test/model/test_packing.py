# SPDX-License-Identifier: Apache-2.0
"""Packed layers are the plain ones, up to rounding."""

import math

import pytest
import torch

from xvla_ros.model import packing
from xvla_ros.model.attention import attend
from xvla_ros.model.head import Mlp
from xvla_ros.model.measured import MARGIN
from xvla_ros.model.packing import (
    can_pack,
    CastLinear,
    KINDS,
    layer_kind,
    layer_times,
    NAMES,
    pack,
    PackedConvolution,
    PackedLinear,
    replace,
)
from xvla_ros.testing.miniature import small_network

pytestmark = pytest.mark.skipif(
    not can_pack(torch.float32), reason='this torch has no packed linear layers'
)


LAYERS = (PackedLinear, CastLinear)


@pytest.mark.parametrize('layer', LAYERS)
def test_a_replaced_layer_with_its_gelu_equals_the_plain_one(layer):
    mlp = Mlp(32, 64, 0.0).eval().requires_grad_(False)
    x = torch.randn(2, 7, 32)
    expected = mlp(x)
    replace(mlp, layer, torch.float32)
    assert isinstance(mlp.fc1, layer)
    assert isinstance(mlp.activation_fn, torch.nn.Identity)
    assert torch.allclose(mlp(x), expected, atol=1e-6)


@pytest.mark.parametrize('layer', LAYERS)
@pytest.mark.parametrize(('dtype', 'allowed'), [(torch.float32, 2e-5), (torch.bfloat16, 0.1)])
def test_a_packed_network_encodes_as_the_plain_one(layer, dtype, allowed, monkeypatch):
    if not can_pack(dtype):
        pytest.skip('no bfloat16 kernels here')
    monkeypatch.setattr(packing, 'layer_kind', lambda *_: layer)
    plain = small_network().eval().requires_grad_(False)
    packed = small_network().eval().requires_grad_(False)
    pack(packed, dtype)
    assert not any(isinstance(m, torch.nn.Linear) for m in packed.modules())
    pixels, tokens = torch.randn(2, 3, 40, 40), torch.tensor([[0, 4, 5, 2, 1, 1, 1, 1]])
    answers = []
    for network in (plain, packed):
        with torch.inference_mode():
            features = network.image_features(pixels)[None]
            answers.append(network.fuse(features, network.text_features(tokens))[0])
    assert answers[1].dtype == torch.float32
    assert torch.allclose(*answers, atol=allowed)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_faster_kind_of_layer_is_taken(dtype):
    name, seconds = NAMES[dtype], layer_times(32).seconds
    packed, plain = (seconds.get(f'{name} {kind}', math.inf) for kind in KINDS)
    assert layer_kind(dtype, 32) is (PackedLinear if packed <= MARGIN * plain else CastLinear)


def test_explicit_attention_equals_the_fused_one():
    q, k, v = (torch.randn(2, 4, n, 8) for n in (3, 9, 9))
    assert torch.allclose(attend(q, k, v), attend(q, k, v, explicit=True), atol=1e-6)


@pytest.mark.parametrize(('dtype', 'allowed'), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_a_packed_convolution_equals_the_plain_one(dtype, allowed):
    if not can_pack(dtype):
        pytest.skip('no bfloat16 kernels here')
    conv = torch.nn.Conv2d(16, 32, 3, stride=2, padding=1).requires_grad_(False)
    packed = PackedConvolution(conv, dtype)
    for side in (14, 7):
        x = torch.randn(3, side, side, 16).permute(0, 3, 1, 2)
        assert packed(x).dtype == torch.float32
        assert torch.allclose(packed(x), conv(x), atol=allowed)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('explicit', [False, True])
def test_a_repeated_key_counts_as_often_as_it_is_said_to(dtype, explicit):
    q, k, v = (torch.randn(2, 4, n, 8).to(dtype) for n in (3, 9, 9))
    all_k, all_v = (torch.cat([x, x[:, :, -1:].expand(-1, -1, 99, -1)], dim=2) for x in (k, v))
    expected = attend(q, all_k, all_v, explicit=True).float()
    found = attend(q, k, v, explicit=explicit, repeats=100).float()
    assert torch.allclose(found, expected, atol=1e-6 if dtype == torch.float32 else 0.02)
