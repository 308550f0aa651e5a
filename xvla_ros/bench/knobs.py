# SPDX-License-Identifier: Apache-2.0
"""
What the knobs that trade accuracy for time cost on the demo policy's own observations.

The policy runs in its simulation; every observation it meets is answered again, with the same
noise, exactly (fp32, ten steps) and with the knobs, and the two chunks are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.model.loading import load_policy
from xvla_ros.model.policy import Policy
from xvla_ros.model.sampler import Deviation, deviation, Tolerance
from xvla_ros.model.warm_start import shifted_plan, WarmStart

# The first chunk of an episode: skip to the last step once two predictions agree this far.
TOLERANCE = Tolerance(position_mm=1.0, rotation_deg=0.5)
# Later ones start from the plan in execution, at the last of the reference's ten times.
WARM_TIMES = (0.1,)
CHECKPOINT, EMBODIMENT = 'demo_policy', 'franka_sim.yaml'
EPISODES, SEED = 4, 7
# The policy node asks again as soon as it has an answer; evaluation takes that to be this long.
REPLAN_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Trade:
    """What the knobs change, at worst, and the steps every chunk took."""

    deviation: Deviation
    steps: tuple[int, ...]


class Remembering(Policy):
    """A policy that keeps the observations it was asked about."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.network, policy.images, policy.text)
        self.asked: list[dict[str, Any]] = []

    def predict(self, *args: object, **options: object) -> np.ndarray:
        """Remember, then answer."""
        names = ('images', 'proprio', 'instruction', 'domain_id')
        asked = dict(zip(names, args, strict=False)) | options
        self.asked.append({name: asked[name] for name in (*names, 'noise')})
        return super().predict(*args, **options)


def episodes(path: Path, count: int = EPISODES) -> list[list[dict[str, Any]]]:
    """Run the demo policy in its simulation; return what it was asked, per episode."""
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


def answered(
    policy: Policy, asked: Sequence[dict[str, Any]], elapsed_s: float, period_s: float
) -> tuple[list[np.ndarray], list[int]]:
    """Answer one episode's observations with the knobs; return chunks and step counts."""
    chunks, steps = [], []
    for observation in asked:
        knobs = {'tolerance': TOLERANCE}
        if chunks:
            plan = shifted_plan(chunks[-1], elapsed_s, period_s)
            knobs = {'warm_start': WarmStart(plan=plan), 'steps': WARM_TIMES}
        chunks.append(policy.predict(**observation, **knobs))
        steps.append(policy.last_steps)
    return chunks, steps


def trade(path: Path, dtype: str, count: int = EPISODES) -> Trade:
    """Compare the knobs' answers with the exact ones on the demo policy's own observations."""
    period_s = load_embodiment(shared_file('config', EMBODIMENT)).policy.anchor_period_s
    exact, quick = load_policy(path), load_policy(path, dtype=dtype)
    pairs, steps = [], []
    for asked in episodes(path, count):
        chunks, taken = answered(quick, asked, REPLAN_S, period_s)
        steps += taken
        for observation, chunk in zip(asked, chunks, strict=True):
            expected = torch.from_numpy(exact.predict(**observation))
            pairs.append(deviation(torch.from_numpy(chunk), expected, exact.mode, raw=False))
    return Trade(deviation=worst(pairs), steps=tuple(steps))


def worst(pairs: Sequence[Deviation]) -> Deviation:
    """Return the largest of every kind of deviation."""
    return Deviation(
        position_mm=max(d.position_mm for d in pairs),
        rotation_deg=max(d.rotation_deg for d in pairs),
        gripper=max(d.gripper for d in pairs),
    )
