# SPDX-License-Identifier: Apache-2.0
"""Dropout keeps the share and the mean that it promises, and repeats with torch's seed."""

import pytest
import torch

from xvla_ros.model.attention import attend
from xvla_ros.model.dropout import Dropout, dropout


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_a_share_is_dropped_and_the_rest_is_scaled(rate, dtype):
    torch.manual_seed(0)
    out = dropout(torch.ones(401, 503, dtype=dtype), rate).float()
    assert out.unique().tolist() == [0.0, pytest.approx(1 / (1 - rate), rel=4e-3)]
    assert float((out == 0).float().mean()) == pytest.approx(rate, abs=4e-3)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    gone = dropout(torch.ones(1_000_000), 0.5) == 0
    for apart in (1, 2, 3, 4):
        both = (gone[:-apart] & gone[apart:]).float().mean()
        assert float(both) == pytest.approx(0.25, abs=3e-3)


def test_gradients_pass_where_values_did():
    torch.manual_seed(0)
    x = torch.randn(64, 65, requires_grad=True)
    out = dropout(x, 0.3)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


def test_the_same_seed_drops_the_same_and_evaluation_nothing():
    x, layer = torch.randn(31, 7), Dropout(0.4)
    drawn = [torch.manual_seed(seed) and layer(x) for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(layer.eval()(x), x)


def test_attention_with_dropout_has_the_mean_of_attention_without():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 9, 8)
    drawn = torch.stack([attend(q, k, v, dropout=0.2) for _ in range(2000)])
    torch.testing.assert_close(drawn.mean(dim=0), attend(q, k, v), atol=0.06, rtol=0.0)
    assert not torch.equal(drawn[0], drawn[1])
