# SPDX-License-Identifier: Apache-2.0
"""The stages of a training, with a learning rate for each part of the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xvla_ros.core.errors import ConfigError

# Parts of the network, see `parameters_of`. `extra` are heads that only training has.
PARTS = ('prompts', 'heads', 'core', 'vlm', 'extra')


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A learning rate that rises over `warmup` steps, stays, and falls to 0 at a stage's end."""

    peak: float
    warmup: int = 0
    falling: float = 0.0  # share of the stage's steps over which it falls

    def at(self, step: int, steps: int) -> float:
        """Return the rate of a step of a stage with so many steps, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        length = self.falling * steps
        fall = (steps - step) / length if length else 1.0
        return self.peak * max(0.0, min(rise, fall))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """
    Some steps with the same parts in training.

    rates: of the parts that are trained; all others need no gradient. fresh: the optimiser begins
    anew. caches: the encoder is not trained and sees images without jitter, so its output is
    kept. lora: of core and vlm, train the low-rank updates alone.
    """

    name: str
    steps: int
    rates: Mapping[str, Rate]
    fresh: bool = False
    caches: bool = False
    lora: bool = False

    def __str__(self) -> str:
        """Return everything that the steps depend on, as text."""
        rates = ', '.join(
            f'{p} {r.peak:g}/{r.warmup}/{r.falling:g}' for p, r in self.rates.items()
        )
        return f"'{self.name}', {self.steps} steps, {rates}{', lora' if self.lora else ''}"

    def __post_init__(self) -> None:
        """
        Check the names of the parts.

        :raises ConfigError: there is no such part, or the number of steps is negative.
        """
        unknown = sorted(set(self.rates) - set(PARTS))
        if unknown:
            raise ConfigError(f'stage {self.name}: no part {unknown[0]}; parts: {PARTS}')
        if self.steps < 0:
            raise ConfigError(f'stage {self.name}: {self.steps} steps, expected 0 or more')


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Stages one after the other."""

    stages: Sequence[Stage] = field(default_factory=tuple)

    @property
    def steps(self) -> int:
        """How many steps all stages have."""
        return sum(stage.steps for stage in self.stages)

    def locate(self, step: int) -> tuple[int, int]:
        """
        Return the number of the stage that a step is in, and the step inside it.

        :raises IndexError: the plan is shorter.
        """
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, step
            step -= stage.steps
        raise IndexError('the step is behind the end of the plan')

    def span(self, number: int) -> tuple[int, int]:
        """Return the first step of a stage and the first after it."""
        first = sum(stage.steps for stage in self.stages[:number])
        return first, first + self.stages[number].steps


def two_steps(
    *,
    frozen_steps: int,
    steps: int,
    rate: float = 1e-4,
    scale: float = 0.1,
    warmup: int = 2000,
    falling: float = 0.0,
    lora: bool = False,
    early_core: bool = False,
) -> Plan:
    """
    Return X-VLA's two-step adaptation (arXiv 2510.10274).

    First the robot's prompts, encoder and decoder alone; the rest needs no gradient. Then the core
    and the VLM join: their rates rise to `scale` times the rate. Prompts have the full rate in
    both: at a tenth of it they hardly leave where they began.

    :param early_core: the core is trained in the first step, too, at the rate it has later: what
        a checkpoint needs whose actions mean something new.
    :param rate: X-VLA's train.py has 1e-4. scale: its README recommends 0.1. warmup: 2000 there.
    """
    rows = {part: Rate(peak=rate, falling=falling) for part in ('prompts', 'heads')}
    first = {part: Rate(peak=rate) for part in rows}
    peak = rate if lora else scale * rate
    ramp = Rate(peak=peak, warmup=warmup, falling=falling)
    if early_core:
        first['core'] = Rate(peak=peak)
    return Plan(
        stages=(
            Stage(name='prompts and heads', steps=frozen_steps, rates=first, caches=True),
            Stage(name='all', steps=steps, rates=rows | {'core': ramp, 'vlm': ramp}, lora=lora),
        )
    )
