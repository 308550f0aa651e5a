# SPDX-License-Identifier: Apache-2.0
"""Packed layers are the plain ones, up to rounding."""

import pytest
import torch

from xvla_ros.model.attention import attend
from xvla_ros.model.head import Mlp
from xvla_ros.model.miniature import small_network
from xvla_ros.model.packing import can_pack, pack, PackedLinear

pytestmark = pytest.mark.skipif(
    not can_pack(torch.float32), reason='this torch has no packed linear layers'
)


def test_a_packed_layer_with_its_gelu_equals_the_plain_one():
    mlp = Mlp(32, 64, 0.0).eval().requires_grad_(False)
    x = torch.randn(2, 7, 32)
    expected = mlp(x)
    pack(mlp)
    assert isinstance(mlp.fc1, PackedLinear)
    assert isinstance(mlp.activation_fn, torch.nn.Identity)
    assert torch.allclose(mlp(x), expected, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_packed_network_encodes_as_the_plain_one(dtype):
    if not can_pack(dtype):
        pytest.skip('no bfloat16 kernels here')
    plain = small_network().eval().requires_grad_(False).to(dtype)
    packed = small_network().eval().requires_grad_(False).to(dtype)
    pack(packed)
    assert not any(isinstance(m, torch.nn.Linear) for m in packed.modules())
    pixels, tokens = torch.randn(2, 3, 40, 40).to(dtype), torch.tensor([[0, 4, 5, 2, 1, 1, 1, 1]])
    answers = []
    for network in (plain, packed):
        with torch.inference_mode():
            features = network.image_features(pixels)[None]
            answers.append(network.fuse(features, network.text_features(tokens))[0].float())
    tolerance = 2e-5 if dtype == torch.float32 else 0.1
    assert torch.allclose(*answers, atol=tolerance)


def test_explicit_attention_equals_the_fused_one():
    q, k, v = (torch.randn(2, 4, n, 8) for n in (3, 9, 9))
    assert torch.allclose(attend(q, k, v), attend(q, k, v, explicit=True), atol=1e-6)
