# SPDX-License-Identifier: Apache-2.0
"""Which attention kernel to use where."""

import math

import torch
from torch.nn import functional as F


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

    torch's fused kernel has no fast bfloat16 path on a CPU: there, and where it is asked for,
    plain matrix products are faster (1.4x at X-VLA's 262 tokens).

    :param q: (B, heads, rows, d); `k`, `v`: (B, heads, T, d).
    :param repeats: how many equal keys and values the last ones stand for.
    :return: (B, heads, rows, d).
    """
    slow = q.dtype == torch.bfloat16 and q.device.type == 'cpu'
    bias = None if repeats == 1 else repeated(k, repeats)
    if not (explicit or slow):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    batch, heads, rows, width = q.shape
    # Contiguous, because the product's own copy of a strided matrix is slow.
    flat = [x.reshape(batch * heads, -1, width).contiguous() for x in (q, k, v)]
    nothing = q.new_zeros(1, 1, 1)
    scores = torch.baddbmm(nothing, flat[0], flat[1].mT, beta=0, alpha=width**-0.5)
    # The bias is a logarithm: added in float32, it costs no accuracy.
    weights = scores if bias is None else scores.float() + bias
    weights = F.dropout(weights.softmax(dim=-1).to(q.dtype), dropout)
    return torch.bmm(weights, flat[2]).view(batch, heads, rows, width)


def repeated(k: torch.Tensor, repeats: int) -> torch.Tensor:
    """Return what makes the last score count so many times: (1, T) float32, else zeros."""
    bias = torch.zeros(1, k.shape[2], device=k.device)
    bias[0, -1] = math.log(repeats)
    return bias
