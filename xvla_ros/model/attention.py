# SPDX-License-Identifier: Apache-2.0
"""Attention without a mask, with the faster of two kernels."""

from collections.abc import Callable
from functools import cache, partial
import math

import torch
from torch.nn import functional as F

from xvla_ros.model.dropout import dropout as drop
from xvla_ros.model.measured import fastest, measured, Measurement, Question

# The measured shape: heads, tokens and head width of X-VLA's head at three views.
HEADS, TOKENS, WIDTH = 16, 262, 64


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout: float = 0.0,
    explicit: bool = False,
    repeats: int = 1,
) -> torch.Tensor:
    """
    Attend without a mask.

    torch has a fused kernel. In bfloat16 on a CPU, plain matrix products are 1.4 times as fast on
    one processor and 28 times slower on another, so there the choice is measured (once). With
    dropout there is no fused kernel for a CPU.

    :param q: (B, heads, rows, d); `k`, `v`: (B, heads, T, d).
    :param explicit: use plain matrix products even if they are slower.
    :param repeats: how many equal keys and values the last ones represent.
    :return: (B, heads, rows, d).
    """
    processor = q.device.type == 'cpu'
    bfloat16 = processor and q.dtype == torch.bfloat16
    explicit = explicit or (processor and dropout > 0)
    bias = None if repeats == 1 else repeated(k, repeats)
    if not (explicit or (bfloat16 and explicit_is_faster())):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    batch, heads, rows, width = q.shape
    # Contiguous, because the product's own copy of a strided matrix is slow.
    flat = [x.reshape(batch * heads, -1, width).contiguous() for x in (q, k, v)]
    nothing = q.new_zeros(1, 1, 1)
    scores = torch.baddbmm(nothing, flat[0], flat[1].mT, beta=0, alpha=width**-0.5)
    # The bias is a logarithm: added in float32, it costs no accuracy.
    weights = scores if bias is None else scores.float() + bias
    weights = drop(weights.softmax(dim=-1).to(q.dtype), dropout)
    return torch.bmm(weights, flat[2]).view(batch, heads, rows, width)


def repeated(k: torch.Tensor, repeats: int) -> torch.Tensor:
    """Return the bias (1, T) float32 that counts the last score `repeats` times; else 0."""
    bias = torch.zeros(1, k.shape[2], device=k.device)
    bias[0, -1] = math.log(repeats)
    return bias


@cache
def explicit_is_faster() -> bool:
    """Say whether plain matrix products are the faster attention in bfloat16 on this CPU."""
    return fastest(attention_times().seconds, ('explicit', 'fused')) == 'explicit'


def attention_times() -> Measurement:
    """Return how long one bfloat16 attention at X-VLA's size takes, `fused` and `explicit`."""
    ways = ('explicit', 'fused')
    return measured(Question(name='attention-bfloat16', ways=ways, prepare=_attentions))


def _attentions() -> dict[str, Callable[[int], object]]:
    """Return both ways to attend, each with two heads per unit of size."""
    ways: dict[str, Callable[..., torch.Tensor]] = {
        'explicit': partial(attend, explicit=True),
        'fused': F.scaled_dot_product_attention,
    }
    x = torch.randn(1, TOKENS, HEADS, WIDTH).bfloat16().transpose(1, 2)

    def run(way: Callable[..., torch.Tensor], size: int) -> object:
        heads = x[:, : HEADS * size // 8]
        with torch.inference_mode():
            return way(heads, heads, heads)

    return {name: partial(run, way) for name, way in ways.items()}
