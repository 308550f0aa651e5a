# SPDX-License-Identifier: Apache-2.0
"""The optimiser, its learning rate over time, and the running mean of the weights."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

# Adam's second beta is lower than usual: runs are short.
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
# Gradients are clipped to this norm, as in X-VLA's train.py.
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A learning rate that warms up, stays, and falls to zero over the last part of `steps`."""

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 150
    falling: float = 0.4

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = (self.steps - step) / max(1.0, self.falling * self.steps)
        return self.learning_rate * max(0.0, min(rise, fall))


class Optimiser:
    """
    AdamW over parameters, with tables of domain rows free of decay.

    A row that no sample uses has zero gradient and no decay, so it stays bit-identical.
    """

    def __init__(
        self, network: nn.Module, schedule: Schedule, more: Iterable[nn.Parameter] = ()
    ) -> None:
        self.schedule, self.step_number = schedule, 0
        more = list(more)
        tables = domain_tables(network)
        named = {id(p) for p in tables}
        rest = [p for p in network.parameters() if p.requires_grad and id(p) not in named]
        self.parameters = [*rest, *tables, *more]
        groups = [
            {'params': [*rest, *more], 'weight_decay': WEIGHT_DECAY},
            {'params': tables, 'weight_decay': 0.0},
        ]
        groups = [group for group in groups if group['params']]
        self.adam = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=BETAS)

    def step(self, loss: torch.Tensor) -> None:
        """Descend one step."""
        for group in self.adam.param_groups:
            group['lr'] = self.schedule.rate(self.step_number)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
        self.adam.step()
        self.step_number += 1


def domain_tables(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters whose first axis is the domain: prompts and per-domain projections."""
    return [
        module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Embedding)
        and name.startswith('transformer.')
        and module.weight.requires_grad
    ]


class RunningMean:
    """
    An exponential mean of a network's weights.

    lerp_ of two equal numbers is that number, so rows that are never trained stay bit-identical
    here as well.
    """

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: t.detach().clone() for name, t in network.state_dict().items()}

    def update(self, network: nn.Module) -> None:
        """Take in the network's weights; the mean is short while it is young."""
        self.updates += 1
        weight = max(1.0 - self.decay, 9.0 / (10.0 + self.updates))
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    self.state[name].lerp_(tensor, weight)
                else:
                    self.state[name].copy_(tensor)


def limit_threads(count: int) -> None:
    """Use this many threads: a second one on a busy machine makes torch slower."""
    torch.set_num_threads(count)
