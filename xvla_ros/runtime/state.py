# SPDX-License-Identifier: Apache-2.0
"""The policy's state, the reasons of holds, and the counters."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
import math

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import Reason
from xvla_ros.core.interpolation import State as Planned
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
    """Counts since activation; `faults` counts the reasons of holds and refusals by code."""

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

    reason: why it is in this state. latched: the fault or the controller's stop that needs a
    reset. Both are false when there is none.
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
        """The reason as a text for people; empty when there is none."""
        return self.reason.text


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Command:
    """
    A command to all arms: one target per arm in order, None to hold; and the chunk's number.

    ahead: the states of all arms at the following control periods, as far as they are known.
    """

    targets: tuple[ArmPose, ...] | None
    sequence: int
    ahead: tuple[tuple[Planned, ...], ...] = ()


ESTOP = Reason('estop', 'e-stop pressed')
GOING_HOME = Reason('home', 'going home')
# After a hold of one of these sources the old plan is dropped: it does not know what they report.
DROP_PLAN = ('inputs', 'observation', 'worker', SILENCE, 'state', 'controller', 'arming')
# Sources that the inference worker reports: what it lacks to predict.
INPUTS = ('inputs', 'observation')
# The source of a stop by the controller, until `~/reset`.
CONTROLLER = 'controller'
# The source of a hold that ends with the next call of `~/arm`.
ARMING = 'arming'
# The source of a hold because no controller would execute the targets.
LISTENER = 'listener'


class Holds:
    """The reasons of a hold by source, and the latched fault. Its owner locks."""

    def __init__(self) -> None:
        """Begin without a reason."""
        self.fault = Reason()
        self._blocks: dict[str, Reason] = {}

    def __bool__(self) -> bool:
        """Return whether anything forbids motion."""
        return bool(self.fault or self._blocks)

    def block(self, source: str, reason: Reason) -> bool:
        """Store a source's reason; return whether the source had none before."""
        begun = source not in self._blocks
        if source == 'worker':
            self.unblock(*INPUTS, SILENCE)  # what the worker lacked no longer matters
        self._blocks[source] = reason
        return begun

    def unblock(self, *sources: str) -> None:
        """Remove the reasons of these sources."""
        for source in sources:
            self._blocks.pop(source, None)

    @property
    def forbids_plans(self) -> bool:
        """Whether a plan made now must be dropped."""
        return bool(self.fault) or any(source in self._blocks for source in DROP_PLAN)

    @property
    def latched(self) -> Reason:
        """The reason that only `~/reset` or `~/arm` removes."""
        blocks = (self._blocks.get(source, Reason()) for source in (CONTROLLER, ARMING))
        return self.fault or next(filter(None, blocks), Reason())

    @property
    def reason(self) -> Reason:
        """Why the robot must not move: the fault, or the oldest reason."""
        return self.fault or self.first()[1]

    def first(self) -> tuple[str, Reason]:
        """Return the oldest reason with its source; an empty source when there is none."""
        return next(iter(self._blocks.items()), ('', Reason()))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Underway:
    """
    The plan at one moment.

    upcoming: the plan from now on; None when it is not executed. latency_s: from an observation
    to its answer. epoch: of the task.
    """

    upcoming: Chunk | None
    latency_s: float
    epoch: int
