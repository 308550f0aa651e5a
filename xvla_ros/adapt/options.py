# SPDX-License-Identifier: Apache-2.0
"""The options of an adaptation."""

from dataclasses import dataclass
from pathlib import Path

import torch

from xvla_ros.adapt.trainer.stages import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """
    How a robot is adapted.

    row: that is trained. from_row: it begins as a copy of this one; None: as it is. batch: samples
    per step and process. check: steps between two looks at the held-out episodes. samples: at most
    so many of them. denoising: steps of each prediction there. held_out: share of the episodes.
    lora: rank, 0 for whole weights. lerobot: also write LeRobot's layout beside. silence: see
    `silence_views`. mean: decay of a running mean of the weights, 0 for none. store: what a policy
    in joint space is stored in; None: float32.
    """

    checkpoint: Path
    out: Path
    plan: Plan
    row: int
    from_row: int | None = None
    batch: int = 16
    seed: int = 0
    check: int = 500
    samples: int = 128
    denoising: int = 4
    held_out: float = 0.1
    dtype: torch.dtype = torch.float32
    device: str = 'cpu'
    jitter: bool = True
    lora: int = 0
    checkpointing: bool = False
    lerobot: bool = False
    silence: bool = False
    tensorboard: bool = False
    mean: float = 0.0
    store: torch.dtype | None = None
