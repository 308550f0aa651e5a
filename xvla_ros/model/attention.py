# SPDX-License-Identifier: Apache-2.0
"""Which attention kernel to use where."""

import torch
from torch.nn import functional as F


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dropout: float = 0.0, explicit: bool = False
) -> torch.Tensor:
    """
    Attend without a mask.

    torch's fused kernel has no fast bfloat16 path on a CPU: there, and where it is asked for,
    plain matrix products are faster (1.4x at X-VLA's 262 tokens).

    :param q: (B, heads, rows, d); `k`, `v`: (B, heads, T, d).
    :return: (B, heads, rows, d).
    """
    slow = q.dtype == torch.bfloat16 and q.device.type == 'cpu'
    if not (explicit or slow):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    batch, heads, rows, width = q.shape
    flat = [x.reshape(batch * heads, -1, width) for x in (q, k, v)]
    nothing = q.new_zeros(1, 1, 1)
    scores = torch.baddbmm(nothing, flat[0], flat[1].mT, beta=0, alpha=width**-0.5)
    weights = F.dropout(scores.softmax(dim=-1), dropout)
    return torch.bmm(weights, flat[2]).view(batch, heads, rows, width)
