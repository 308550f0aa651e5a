# SPDX-License-Identifier: Apache-2.0
"""
The denoising steps of one observation. Everything that no step changes is computed once.

The result is exact up to the order of additions. Computed once: the context tokens, their share of
the first block, and the part of the action tokens that depends on proprioception and time. In the
last block only the rows that are read are computed.
"""

from typing import NamedTuple

import torch

from xvla_ros.model.head import Attention, Block, SoftPromptedTransformer, time_embedding


class Context(NamedTuple):
    """
    Tensors that no denoising step changes.

    tokens: (B, N, hidden) of encoder, other views and prompts; qkv: (B, N, 3 * hidden), their
    share of the first block.
    """

    tokens: torch.Tensor
    qkv: torch.Tensor


def context_of(
    head: SoftPromptedTransformer,
    encoded: torch.Tensor,
    auxiliary: torch.Tensor,
    domain: torch.Tensor,
    num_actions: int,
) -> Context:
    """Prepare encoder output (B, N, C) and other views' features (B, M, C) for the steps."""
    tokens = head.context(encoded, auxiliary, domain, num_actions)
    first = head.layers[0]
    return Context(tokens, first.attn.qkv(first.norm1(tokens)))


class Denoiser:
    """
    Clean-action predictions for one observation.

    :param times: (steps,) flow times of the run, from the first step to the last.
    :param proprio: (B, dim_proprio), preprocessed.
    """

    def __init__(
        self,
        head: SoftPromptedTransformer,
        times: torch.Tensor,
        context: Context,
        proprio: torch.Tensor,
        domain: torch.Tensor,
        num_actions: int,
    ) -> None:
        self.head, self.context = head, context
        self.dtype = context.tokens.dtype
        weight, bias = head.action_encoder.gather(domain)
        split = (head.dim_action, head.dim_proprio, head.dim_time)
        self.action_weight, proprio_weight, time_weight = weight.split(split, dim=1)
        embedded = time_embedding(times, head.dim_time).to(self.dtype)
        constant = torch.baddbmm(bias, proprio.to(self.dtype)[:, None], proprio_weight)
        constant = constant + head.pos_emb[:, :num_actions]  # (B, T, hidden)
        self.offsets = [constant + step @ time_weight for step in embedded[:, None, None]]
        self.decoder = head.action_decoder.gather(domain)

    def __call__(self, actions: torch.Tensor, index: int) -> torch.Tensor:
        """Predict clean actions from preprocessed noisy ones (B, T, dim) at the index-th time."""
        tokens = torch.baddbmm(self.offsets[index], actions.to(self.dtype), self.action_weight)
        return predict_actions(self.head, tokens, self.context, *self.decoder)


def predict_actions(
    head: SoftPromptedTransformer,
    tokens: torch.Tensor,
    context: Context,
    weight: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """Run the blocks on action tokens (B, T, hidden) and prepared context."""
    length = tokens.shape[1]
    first, *middle = head.layers
    x = torch.cat([tokens, context.tokens], dim=1)
    qkv = torch.cat([first.attn.qkv(first.norm1(tokens)), context.qkv], dim=1)
    last = middle.pop() if middle else None
    x = finish(first, x, qkv, x.shape[1] if last else length)
    for block in middle:
        x = block(x)
    if last:
        x = finish(last, x, last.attn.qkv(last.norm1(x)), length)
    return torch.baddbmm(bias, head.norm(x), weight)


def finish(block: Block, x: torch.Tensor, qkv: torch.Tensor, rows: int) -> torch.Tensor:
    """Complete a block from its QKV for the first `rows` tokens; the rest are keys only."""
    attention: Attention = block.attn
    q, k, v = attention.split(qkv)
    x = x[:, :rows] + attention.attend(q[:, :, :rows], k, v)
    return x + block.mlp(block.norm2(x))
