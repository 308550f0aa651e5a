# SPDX-License-Identifier: Apache-2.0
"""What the policy does, what forbids it to move, and what it has counted."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
import math

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import Reason
from xvla_ros.runtime.worker_messages import SILENCE, Timing


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
    """
    The state of the control loop at one moment.

    reason: why it is in its state. latched: the fault, or the stop of the controller, that
    somebody must reset; either is false without one.
    """

    state: State
    reason: Reason
    latched: Reason
    armed: bool
    sequence: int
    timing: Timing
    observation_age_s: float = math.nan
    queue_remaining_s: float = 0.0
    counters: Counters

    @property
    def message(self) -> str:
        """Why it is in its state, for people; empty without a reason."""
        return self.reason.text


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Command:
    """What all arms shall do: targets in order, None to hold; from which chunk."""

    targets: tuple[ArmPose, ...] | None
    sequence: int


ESTOP = Reason('estop', 'e-stop pressed')
GOING_HOME = Reason('home', 'going home')
# Blocks whose plan must not be followed when they end: it was made before what they report.
DROP_PLAN = ('inputs', 'observation', 'worker', SILENCE, 'state', 'controller', 'arming')
# Blocks that the inference worker raises: what it lacks to predict.
INPUTS = ('inputs', 'observation')
# The block that says that the controller has stopped the arms until somebody resets it.
CONTROLLER = 'controller'
# The block that ends when somebody arms the robot again, or chooses a dry run.
ARMING = 'arming'
# The block of targets that nobody would execute.
LISTENER = 'listener'


class Holds:
    """Reasons by source, and the latched fault. Not thread-safe: its owner locks."""

    def __init__(self) -> None:
        """Begin without any."""
        self.fault = Reason()
        self._blocks: dict[str, Reason] = {}

    def __bool__(self) -> bool:
        """Tell whether anything forbids motion."""
        return bool(self.fault or self._blocks)

    def block(self, source: str, reason: Reason) -> bool:
        """Note a reason; return whether the source did not block before."""
        begun = source not in self._blocks
        if source == 'worker':
            self.unblock(
                *INPUTS, SILENCE
            )  # what it lacked matters no more, nor can it take that back
        self._blocks[source] = reason
        return begun

    def unblock(self, *sources: str) -> None:
        """Take back what sources said."""
        for source in sources:
            self._blocks.pop(source, None)

    @property
    def forbids_plans(self) -> bool:
        """Whether a plan made now must not be kept."""
        return bool(self.fault) or any(source in self._blocks for source in DROP_PLAN)

    @property
    def latched(self) -> Reason:
        """The reason that only a reset or arming by somebody takes away."""
        blocks = (self._blocks.get(source, Reason()) for source in (CONTROLLER, ARMING))
        return self.fault or next(filter(None, blocks), Reason())

    @property
    def reason(self) -> Reason:
        """Why the robot must not move: the fault or the oldest block."""
        return self.fault or self.first()[1]

    def first(self) -> tuple[str, Reason]:
        """Return the source and reason of the oldest block; no source without one."""
        return next(iter(self._blocks.items()), ('', Reason()))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Underway:
    """
    The plan at one moment.

    upcoming: what will be commanded; None when nothing is followed. latency_s: of an answer, from
    its observation on. epoch: of the task.
    """

    upcoming: Chunk | None
    latency_s: float
    epoch: int
