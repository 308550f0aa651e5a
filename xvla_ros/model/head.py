# SPDX-License-Identifier: Apache-2.0
"""X-VLA's action head: a soft-prompted transformer with per-domain input, output and prompts."""

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from xvla_ros.model.attention import attend
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.dropout import Dropout

# Longest period of the sinusoidal time embedding; t is in (0, 1] (models/transformer.py).
MAX_PERIOD = 100.0


def time_embedding(t: torch.Tensor, dim: int) -> torch.Tensor:
    """
    Embed flow times as cosines and sines.

    :param t: (B,) in (0, 1].
    :return: (B, dim), `[cos | sin]`.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=t.dtype, device=t.device)
    angle = t[:, None] * torch.exp(-math.log(MAX_PERIOD) * steps / half)
    return F.pad(torch.cat([angle.cos(), angle.sin()], dim=-1), (0, dim - 2 * half))


class DomainAwareLinear(nn.Module):
    """A linear layer with one weight row per domain, stored input-major (unlike `nn.Linear`)."""

    def __init__(self, dim_in: int, dim_out: int, num_domains: int) -> None:
        super().__init__()
        self.dim_in, self.dim_out = dim_in, dim_out
        self.fc = nn.Embedding(num_domains, dim_in * dim_out)
        self.bias = nn.Embedding(num_domains, dim_out)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.bias.weight)

    def gather(self, domain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights (B, in, out) and biases (B, 1, out) of domains (B,)."""
        weight = self.fc(domain).view(-1, self.dim_in, self.dim_out)
        return weight, self.bias(domain)[:, None]

    def forward(self, x: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """Project tokens (B, T, in) with the row of each sample's domain (B,)."""
        weight, bias = self.gather(domain)
        return torch.baddbmm(bias, x, weight)


class Attention(nn.Module):
    """Full bidirectional multi-head self-attention with one fused QKV projection."""

    def __init__(self, dim: int, num_heads: int, dropout: float, attention: str) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.explicit = num_heads, dropout, attention == 'eager'
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split (B, T, 3 * dim) into q, k, v of (B, heads, T, dim / heads)."""
        batch, length, _ = qkv.shape
        return qkv.view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend, merge heads and project: (B, heads, rows, d) -> (B, rows, heads * d)."""
        rate = self.dropout if self.training else 0.0
        out = attend(q, k, v, rate, self.explicit)
        return self.proj(out.transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend over tokens (B, T, dim)."""
        return self.attend(*self.split(self.qkv(x)))


class Mlp(nn.Module):
    """Two linear layers around a tanh GELU (the encoders use the erf one)."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.activation_fn = nn.GELU(approximate='tanh')
        self.drop = Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, T, dim)."""
        return self.drop(self.fc2(self.drop(self.activation_fn(self.fc1(x)))))


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: NetworkConfig, attention: str) -> None:
        super().__init__()
        dim, rate = config.hidden_size, config.head_dropout
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, config.num_heads, rate, attention)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio), rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform tokens (B, T, dim)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SoftPromptedTransformer(nn.Module):
    """
    Predict the clean action chunk from a noisy one, the context and the domain's own parameters.

    Sequence: `[actions | encoder tokens | auxiliary view tokens]` + positions, then the domain's
    soft prompts, which carry no position.
    """

    def __init__(
        self, config: NetworkConfig, dim_action: int, dim_proprio: int, attention: str = 'sdpa'
    ) -> None:
        super().__init__()
        dim, domains = config.hidden_size, config.num_domains
        dim_context = config.florence['vision_config']['projection_dim']
        self.dim_time, self.len_soft_prompts = config.dim_time, config.len_soft_prompts
        self.dim_action, self.dim_proprio = dim_action, dim_proprio
        self.blocks = nn.ModuleList(Block(config, attention) for _ in range(config.depth))
        self.hetero = config.use_hetero_proj

        def projection() -> nn.Module:
            if self.hetero:
                return DomainAwareLinear(dim_context, dim, domains)
            return nn.Linear(dim_context, dim)

        self.vlm_proj, self.aux_visual_proj = projection(), projection()
        self.pos_emb = nn.Parameter(torch.empty(1, config.max_len_seq, dim))
        self.norm = nn.LayerNorm(dim)
        dim_token = dim_action + dim_proprio + config.dim_time
        self.action_encoder = DomainAwareLinear(dim_token, dim, domains)
        self.action_decoder = DomainAwareLinear(dim, dim_action, domains)
        self.soft_prompt_hub = nn.Embedding(domains, config.len_soft_prompts * dim)
        self.initialize()

    def initialize(self) -> None:
        """Initialise as the reference does: Xavier linears, zero biases, N(0, 0.02) embeddings."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.pos_emb, std=0.02)
        nn.init.normal_(self.soft_prompt_hub.weight, std=0.02)

    @property
    def layers(self) -> list[Block]:
        """The transformer's blocks, in order."""
        return cast('list[Block]', list(self.blocks))

    def project(self, layer: nn.Module, x: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """Apply a context projection, per domain if the checkpoint has one per domain."""
        return layer(x, domain) if self.hetero else layer(x)

    def context(
        self, encoded: torch.Tensor, auxiliary: torch.Tensor, domain: torch.Tensor, first: int
    ) -> torch.Tensor:
        """
        Build the tokens that no denoising step changes.

        :param encoded: (B, N, C) encoder output; `auxiliary`: (B, M, C) features of other views.
        :param first: position of the first context token, which is the number of actions.
        :return: (B, N + M + len_soft_prompts, hidden).
        """
        parts = [self.project(self.vlm_proj, encoded, domain)]
        parts += [self.project(self.aux_visual_proj, auxiliary, domain)]
        tokens = torch.cat(parts, dim=1)
        tokens = tokens + self.pos_emb[:, first : first + tokens.shape[1]]
        prompts = self.soft_prompt_hub(domain).view(domain.shape[0], self.len_soft_prompts, -1)
        return torch.cat([tokens, prompts], dim=1)

    def forward(
        self,
        actions: torch.Tensor,
        proprio: torch.Tensor,
        t: torch.Tensor,
        encoded: torch.Tensor,
        auxiliary: torch.Tensor,
        domain: torch.Tensor,
    ) -> torch.Tensor:
        """
        Predict clean actions the direct way, for training and as a reference for `Denoiser`.

        :param actions: (B, T, dim_action) noisy; `proprio`: (B, dim_proprio); `t`: (B,).
        :return: (B, T, dim_action), gripper channels as logits if the action mode has logits.
        """
        length = actions.shape[1]
        shared = torch.cat([proprio, time_embedding(t, self.dim_time).to(proprio.dtype)], dim=-1)
        tokens = torch.cat([actions, shared[:, None].expand(-1, length, -1)], dim=-1)
        x = self.action_encoder(tokens, domain) + self.pos_emb[:, :length]
        x = torch.cat([x, self.context(encoded, auxiliary, domain, length)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.action_decoder(self.norm(x[:, :length]), domain)
