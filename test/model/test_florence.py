# SPDX-License-Identifier: Apache-2.0
"""Padding late, or not at all, gives what padding early gives."""

import pytest
import torch
from transformers.models.florence2.modeling_florence2 import (
    Florence2VisionChannelAttention,
    Florence2VisionWindowAttention,
)

from xvla_ros.model.florence import (
    build_florence,
    GroupedChannelAttention,
    LatePaddedWindowAttention,
)
from xvla_ros.testing.miniature import small_json


@pytest.mark.parametrize(('height', 'width'), [(7, 7), (5, 5), (10, 3), (14, 14), (1, 12)])
@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
def test_windows_attend_as_in_the_reference(height, width, attention):
    florence = build_florence(small_json()['florence_config'])
    config = florence.config.vision_config
    config._attn_implementation = attention
    early = Florence2VisionWindowAttention(config, 1)
    late = LatePaddedWindowAttention(config, 1)
    torch.nn.init.normal_(early.qkv.bias)
    late.load_state_dict(early.state_dict())
    x = torch.randn(3, height, width, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = early(x)
        assert torch.allclose(late(x), expected, atol=1e-6)
        qkv, size = late.qkv(x), late.window_size
        padded = late._attended(late._padded(qkv, -width % size, -height % size), size, size)
        found = late.proj(padded[:, :height, :width].flatten(1, 2))
        assert torch.allclose(found, expected, atol=1e-6)
        assert attention == 'eager' or torch.equal(found, expected)


@pytest.mark.parametrize('tokens', [1, 49, 100])
def test_channel_attention_as_plain_products_equals_the_reference(tokens):
    config = build_florence(small_json()['florence_config']).config.vision_config
    theirs = Florence2VisionChannelAttention(config, 1)
    ours = GroupedChannelAttention(config, 1)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, tokens, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_the_text_decoder_is_gone_and_the_embedding_is_tied():
    florence = build_florence(small_json()['florence_config'])
    assert not hasattr(florence.language_model, 'decoder')
    language = florence.language_model
    assert language.encoder.embed_tokens.weight is language.shared.weight
