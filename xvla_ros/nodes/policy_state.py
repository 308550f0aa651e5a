# SPDX-License-Identifier: Apache-2.0
"""What the policy does and has counted: plain data for those who show it."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
import math

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.nodes.worker_link import Timing


class State(IntEnum):
    """States of the policy, numbered as in PolicyStatus.msg."""

    IDLE = 0
    WAITING = 1
    DRY_RUN = 2
    ENGAGING = 3
    RUNNING = 4
    HOLDING = 5
    FAULT = 6


@dataclass(kw_only=True, slots=True)
class Counters:
    """What has happened since activation; `faults` counts reasons of holds and refusals."""

    chunks: int = 0
    dropped_chunks: int = 0
    rejected_chunks: int = 0
    clamped_steps: int = 0
    ticks: int = 0
    starved_ticks: int = 0
    worker_restarts: int = 0
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The state of the control loop at one moment."""

    state: State
    message: str
    armed: bool
    sequence: int
    timing: Timing
    observation_age_s: float = math.nan
    queue_remaining_s: float = 0.0
    counters: Counters


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Command:
    """What all arms shall do: targets in order, None to hold; from which chunk."""

    targets: tuple[ArmPose, ...] | None
    sequence: int
