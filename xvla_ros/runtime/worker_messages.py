# SPDX-License-Identifier: Apache-2.0
"""
The messages between the control process and its inference worker.

They talk over a socket pair: the kernel keeps messages whole and in order, a reader sleeps until
one arrives, and the end of a worker is seen the moment it dies, however it dies.
"""

from dataclasses import dataclass
import math
from multiprocessing.connection import Connection
import os
import socket

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.joint_detective import DataRange

# The source of reasons that are the worker's own.
WORKER = 'worker'
# What blocks while the worker says nothing at all.
SILENCE = 'worker silence'


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """To the worker, first: its embodiment. yielding: load at low priority."""

    embodiment: Embodiment
    yielding: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """To the worker: the current task. Answers carry its epoch."""

    instruction: str
    epoch: int
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """To the worker: settings of which the warm start may differ from those it has."""

    embodiment: Embodiment


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Committed:
    """
    To the worker: the plan that is executed, in the arms' base frames.

    upcoming: the plan from now on, resampled; None when there is none. executed: the last chunk
    that was queued. firm_s: how long after the observation the answer repeats the plan; 0: not at
    all. fade_s: within this time after that the plan's share falls to none. epoch: of the task.
    """

    upcoming: Chunk | None = None
    executed: Chunk | None = None
    firm_s: float = 0.0
    fade_s: float = 0.0
    epoch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """
    The facts of a checkpoint; None where it, or its server, does not state them.

    trained_domains: rows of the soft prompts that training may have changed. first_anchor_index:
    see `PolicySettings`. action_range, state_range: of its training data.
    """

    action_mode: str | None = None
    num_actions: int | None = None
    dim_action: int | None = None
    dim_proprio: int | None = None
    dim_noise: int | None = None
    view_slots: int | None = None
    num_domains: int | None = None
    trained_domains: tuple[int, ...] | None = None
    first_anchor_index: int | None = None
    action_range: DataRange | None = None
    state_range: DataRange | None = None


# What an answer passes in the worker: it is free for it, has the frames, has frozen them with the
# arms' state, asks the model, is answered.
STEPS = ('free', 'ready', 'frozen', 'asked', 'answered')


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """From the worker: the predictor is loaded and has predicted once."""

    facts: CheckpointFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """
    The durations of one answer [s].

    processor_share: of what the worker's threads wanted of the processor during inference, 0 to 1.
    image_ns: stamp of the oldest image. passed_ns: monotonic clock at each of STEPS.
    """

    image_age_s: float = math.nan
    preprocess_s: float = math.nan
    inference_s: float = math.nan
    processor_share: float = math.nan
    image_ns: int = 0
    passed_ns: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """From the worker: one chunk, and the arms of the observation it answers."""

    chunk: Chunk
    arms: tuple[ArmPose, ...]
    epoch: int
    timing: Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """From the worker: why it cannot predict, by source; an empty reason when it can again."""

    source: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Alive:
    """From the worker, every WATCH_PERIOD_S: its threads run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """From the worker: why it cannot go on. It ends after this."""

    reason: Reason


def died(how: str = '') -> Reason:
    """Return the reason of a worker's death, and how it ended where that is known."""
    return Reason('worker_died', f'the inference worker died{how and f": {how}"}', WORKER)


def not_restarted(error: Exception) -> Reason:
    """Return the reason of a worker that did not start again."""
    return Reason('worker_restart', f'restart failed: {error}', WORKER)


def shut_down(link: Connection) -> None:
    """
    End a link for both sides, and wake a thread that reads.

    Closing it is left to Python, when the last thread that uses it has let go: a thread that was
    about to read or to write would meet no file, or another one.
    """
    try:
        with socket.socket(fileno=os.dup(link.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side has closed the link
