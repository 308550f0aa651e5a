# SPDX-License-Identifier: Apache-2.0
"""
make bench --only knobs: what the knobs that trade accuracy for time cost the demo policy.

The policy runs in its simulation; every observation it meets is answered again, with the same
noise, exactly (fp32, ten steps) and with each setting of the knobs, and the chunks are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.core.warm_start import shifted_plan, WarmStart
from xvla_ros.model.loading import load_policy
from xvla_ros.model.policy import Policy
from xvla_ros.model.sampler import Deviation, deviation

CHECKPOINT, EMBODIMENT = 'demo_policy', 'franka_sim.yaml'
EPISODES, SEED = 4, 7
# The policy node asks again as soon as it has an answer; evaluation takes that to be this long.
REPLAN_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """Settings of a prediction; the defaults are exact. warm_start_time: 0 starts from noise."""

    steps: int | tuple[float, ...] = 10
    tolerance: tuple[float, float] | None = None
    warm_start_time: float = 0.0
    dtype: str = 'float32'


SETTINGS = {
    'steps_1': Knobs(steps=1),
    'steps_2': Knobs(steps=2),
    'steps_5': Knobs(steps=5),
    'steps_from_1.0_to_0.1': Knobs(steps=(1.0, 0.1)),
    'tolerance_0.2mm_0.1deg': Knobs(tolerance=(0.2, 0.1)),
    'tolerance_1mm_0.5deg': Knobs(tolerance=(1.0, 0.5)),
    'bfloat16': Knobs(dtype='bfloat16'),
    'int8': Knobs(dtype='int8'),
    # One step from the plan in execution, at the last of the reference's ten times; the first
    # chunk of an episode has no plan and takes two.
    'warm_start': Knobs(steps=1, warm_start_time=0.1),
    'warm_start_bfloat16': Knobs(steps=1, warm_start_time=0.1, dtype='bfloat16'),
    'warm_start_int8': Knobs(steps=1, warm_start_time=0.1, dtype='int8'),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trade:
    """The largest deviation that settings caused, and the steps that each chunk took."""

    deviation: Deviation
    steps: tuple[int, ...]


class Remembering(Policy):
    """A policy that stores the observations that it answers."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.network, policy.images, policy.text)
        self.asked: list[dict[str, Any]] = []

    def predict(self, *args: object, **options: object) -> np.ndarray:
        """Store the observation, then answer it."""
        names = ('images', 'proprio', 'instruction', 'domain_id')
        asked = dict(zip(names, args, strict=False)) | options
        self.asked.append({name: asked[name] for name in (*names, 'noise')})
        return super().predict(*args, **options)


def episodes(path: Path, count: int = EPISODES) -> list[list[dict[str, Any]]]:
    """Run the demo policy in its simulation; return its observations, per episode."""
    from xvla_ros.adapt.closed_loop import ClosedLoop, Conditions
    from xvla_ros.sim.scenes import EVALUATE, sample_scene

    embodiment = load_embodiment(shared_file('config', EMBODIMENT))
    policy, found = Remembering(load_policy(path)), []
    loop = ClosedLoop(embodiment, policy, Conditions(replan_s=REPLAN_S, latency_s=REPLAN_S))
    for episode in range(count):
        policy.asked = []
        loop.run(sample_scene(embodiment, EVALUATE, SEED, episode))
        found.append(policy.asked)
    return found


class Comparison:
    """The demo policy's own observations, and the exact answers to them."""

    def __init__(self, path: Path, count: int = EPISODES) -> None:
        """Run the episodes and answer them exactly."""
        embodiment = load_embodiment(shared_file('config', EMBODIMENT))
        self._path, self._period_s = path, embodiment.policy.anchor_period_s
        self._policies = {'float32': load_policy(path)}
        self._asked = episodes(path, count)
        self._exact = [self._answered(asked, Knobs())[0] for asked in self._asked]

    def trade(self, knobs: Knobs) -> Trade:
        """Answer again with the knobs, and compare."""
        pairs, steps = [], []
        for asked, exact in zip(self._asked, self._exact, strict=True):
            chunks, taken = self._answered(asked, knobs)
            steps += taken
            pairs += [self._apart(*pair) for pair in zip(chunks, exact, strict=True)]
        return Trade(deviation=worst(pairs), steps=tuple(steps))

    def _apart(self, chunk: np.ndarray, exact: np.ndarray) -> Deviation:
        mode = self._policies['float32'].mode
        return deviation(torch.from_numpy(chunk), torch.from_numpy(exact), mode, raw=False)

    def _answered(
        self, asked: Sequence[dict[str, Any]], knobs: Knobs
    ) -> tuple[list[np.ndarray], list[int]]:
        """Answer one episode's observations; return chunks and step counts."""
        chunks, steps, policy = [], [], self._policy(knobs.dtype)
        for observation in asked:
            start = self._warm_start(knobs, chunks)
            options = {'steps': knobs.steps, 'tolerance': knobs.tolerance, 'warm_start': start}
            chunks.append(policy.predict(**observation, **options))
            steps.append(policy.last_steps)
        return chunks, steps

    def _policy(self, dtype: str) -> Policy:
        if dtype not in self._policies:
            self._policies[dtype] = load_policy(self._path, dtype=dtype)
        return self._policies[dtype]

    def _warm_start(self, knobs: Knobs, chunks: Sequence[np.ndarray]) -> WarmStart | None:
        """Return the plan: the last answer, if there is one."""
        if not knobs.warm_start_time:
            return None
        plan = shifted_plan(chunks[-1], REPLAN_S, self._period_s) if chunks else None
        return WarmStart(plan=plan, time=knobs.warm_start_time)


def worst(pairs: Sequence[Deviation]) -> Deviation:
    """Return the largest of every kind of deviation."""
    return Deviation(
        position_mm=max(d.position_mm for d in pairs),
        rotation_deg=max(d.rotation_deg for d in pairs),
        gripper=max(d.gripper for d in pairs),
    )


def fast_trade() -> Trade:
    """Return what the fastest settings cost in accuracy: those of `inference.knobs`."""
    return Comparison(shared_file('resource', CHECKPOINT)).trade(SETTINGS['warm_start_bfloat16'])


def run() -> dict[str, dict]:
    """Return `knobs.*`: the largest deviation from ten fp32 steps, and the steps taken."""
    comparison = Comparison(shared_file('resource', CHECKPOINT))
    return {f'knobs.{name}': entry(comparison.trade(knobs)) for name, knobs in SETTINGS.items()}


def entry(traded: Trade) -> dict:
    """Return one entry of `bench.json`."""
    return {
        'ours': round(traded.deviation.position_mm, 4),
        'unit': 'mm',
        'n': len(traded.steps),
        'deviation_deg': round(traded.deviation.rotation_deg, 4),
        'steps_median': int(np.median(traded.steps)),
        'steps_p95': steps_needed(traded),
    }


def steps_needed(traded: Trade) -> int:
    """Return the 95th percentile of the steps, rounded up."""
    return int(np.percentile(traded.steps, 95, method='higher'))
