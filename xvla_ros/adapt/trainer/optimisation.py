# SPDX-License-Identifier: Apache-2.0
"""The optimiser over the parts of a network, and the running mean of the weights."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from xvla_ros.adapt.trainer.stages import PARTS, Stage

PROMPTS = 'transformer.soft_prompt_hub.'
LORA = '.lora_'


@dataclass(frozen=True, kw_only=True, slots=True)
class Descent:
    """
    How gradients become steps; the defaults are those of X-VLA's train.py.

    decay: of core, vlm and extra; tables of domain rows have none. clip: largest norm of each
    part's gradient; each part by itself, for large gradients of the rows would throttle the
    others. mean: decay of the running mean of the weights, 0 for none.
    """

    betas: tuple[float, float] = (0.9, 0.95)
    decay: float = 0.0
    clip: float = 1.0
    mean: float = 0.0


def parameters_of(
    network: nn.Module, extra: nn.Module | None = None
) -> dict[str, dict[str, nn.Parameter]]:
    """
    Return the parameters of each part by name.

    prompts: the soft prompts. heads: all other tables with a row per domain. core: the rest of the
    transformer. vlm: the encoder of images and words. extra: the heads that only training has.
    """
    parts: dict[str, dict[str, nn.Parameter]] = {part: {} for part in PARTS}
    tables = {id(p) for p in domain_tables(network)}
    for name, parameter in network.named_parameters():
        parts[part_of(name, id(parameter) in tables)][name] = parameter
    if extra is not None:
        parts['extra'] = dict(extra.named_parameters())
    return parts


def part_of(name: str, is_table: bool) -> str:
    """Return the part that a parameter belongs to."""
    if name.startswith(PROMPTS):
        return 'prompts'
    if is_table:
        return 'heads'
    return 'vlm' if name.startswith('vlm.') else 'core'


def domain_tables(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters whose first axis is the domain: prompts and per-domain projections."""
    return [
        parameter
        for name, module in network.named_modules()
        if isinstance(module, nn.Embedding) and name.startswith('transformer.')
        for parameter in module.parameters()
    ]


class Optimiser:
    """
    AdamW with a group per part; weights and its state are float32.

    A row that no sample uses has zero gradient and no decay, so it stays bit-identical.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, nn.Parameter]], descent: Descent) -> None:
        """Take the parts of a network; nothing is trained before `enter`."""
        self.descent = descent
        self.parts = {part: dict(named) for part, named in parts.items() if named}
        self.adam = self._new()

    def _new(self) -> torch.optim.AdamW:
        decay = {part: self.descent.decay for part in ('core', 'vlm', 'extra')}
        groups = [
            {'params': list(named.values()), 'weight_decay': decay.get(part, 0.0)}
            for part, named in self.parts.items()
        ]
        return torch.optim.AdamW(groups, lr=0.0, betas=self.descent.betas)

    def enter(self, stage: Stage) -> None:
        """Let the stage's parts, and no others, have gradients."""
        if stage.fresh:
            self.adam = self._new()
        self.adam.zero_grad(set_to_none=True)
        for part, named in self.parts.items():
            for name, parameter in named.items():
                adapted = not stage.lora or part not in ('core', 'vlm') or LORA in name
                parameter.requires_grad_(part in stage.rates and adapted)

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that have gradients in this stage."""
        return [p for named in self.parts.values() for p in named.values() if p.requires_grad]

    def step(self, stage: Stage, step: int) -> dict[str, float]:
        """
        Take the step of a stage along the gradients that are there.

        :return: the norm of each trained part's gradient before it was clipped.
        """
        norms = {}
        for (part, named), group in zip(self.parts.items(), self.adam.param_groups, strict=True):
            rate = stage.rates.get(part)
            group['lr'] = rate.at(step, stage.steps) if rate else 0.0
            trained = [p for p in named.values() if p.grad is not None]
            if trained:
                norms[part] = float(nn.utils.clip_grad_norm_(trained, self.descent.clip))
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return norms


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
        """Add the network's weights; early on the mean covers few updates."""
        self.updates += 1
        weight = max(1.0 - self.decay, 9.0 / (10.0 + self.updates))
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    self.state[name].lerp_(tensor, weight)
                else:
                    self.state[name].copy_(tensor)


class weights(AbstractContextManager[None]):
    """Use other weights in a network inside a `with` block; without any, its own, not training."""

    def __init__(self, network: nn.Module, state: Mapping[str, torch.Tensor] | None) -> None:
        self.network, self.state = network, state

    def __enter__(self) -> None:
        """Keep the network's weights aside and load the others."""
        self.network.eval()
        if self.state is not None:
            self.kept = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
            self.network.load_state_dict(self.state)

    def __exit__(self, *error: object) -> None:
        """Put the kept weights back."""
        if self.state is not None:
            self.network.load_state_dict(self.kept)
        self.network.train()


def limit_threads(count: int) -> None:
    """Set how many threads torch uses; on a busy machine a second one makes it slower."""
    torch.set_num_threads(count)
