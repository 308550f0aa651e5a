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
    policy_steps: of pre-training. few: scenes of the new robot, and
    `held_out` others for its validation error. steps: of each way to adapt, of
    which `first` are the first of two steps. batch: samples per step of these. check: steps
    between two looks. trials: closed-loop episodes at each look, `last_trials` at the last one.
    """

    scenes: int = 400
    states: int = 9
    tower_steps: int = 150
    grounding_steps: int = 300
    policy_steps: int = 900
    few: int = 120
    held_out: int = 30
    steps: int = 480
    first: int = 120
    batch: int = 16
    check: int = 60
    trials: int = 10
    last_trials: int = 50
    seed: int = 0


TOY = Size(
    scenes=3, states=2, tower_steps=1, grounding_steps=1, policy_steps=1, few=3, held_out=2,
    steps=2, first=1, batch=2, check=1, trials=1, last_trials=2,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """
    Where things go, and the dtype of matrix products in training.

    samples: folder of recordings, reused when complete. given: a pre-trained checkpoint that is
    used instead of pre-training. limit_s: longest closed-loop episode.
    """

    out: Path
    samples: Path
    given: Path | None = None
    dtype: torch.dtype = torch.float32
    limit_s: float = 6.0

    @property
    def pretrained(self) -> Path:
        """Return the folder of the pre-trained checkpoint."""
        return self.given or self.out / 'pretrained'
