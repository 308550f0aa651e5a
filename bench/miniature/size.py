# SPDX-License-Identifier: Apache-2.0
"""How large the experiment is."""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """
    Counts of the experiment.

    scenes: recorded per robot for pre-training, `states` in each. tower_steps, grounding_steps,
    policy_steps: of pre-training. few: scenes of the new robot. steps: of each way to adapt, of
    which `first` are the first of two steps. batch: samples per step of these. check: steps
    between two looks. trials: closed-loop episodes at each look, `last_trials` at the last one.
    """

    scenes: int = 400
    states: int = 9
    tower_steps: int = 150
    grounding_steps: int = 300
    policy_steps: int = 900
    few: int = 120
    steps: int = 480
    first: int = 120
    batch: int = 16
    check: int = 60
    trials: int = 10
    last_trials: int = 50
    seed: int = 0


TOY = Size(
    scenes=4, states=3, tower_steps=1, grounding_steps=1, policy_steps=1, few=4, steps=4, first=2,
    batch=4, check=2, trials=1, last_trials=1,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """
    Where things go, and the dtype of matrix products in training.

    samples: folder of recordings, reused when complete. limit_s: longest closed-loop episode.
    """

    out: Path
    samples: Path
    dtype: torch.dtype = torch.float32
    limit_s: float = 6.0
