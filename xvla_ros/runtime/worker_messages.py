# SPDX-License-Identifier: Apache-2.0
"""
What the control process and its inference worker say to each other.

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """To the worker, first: the robot it works for. yielding: others go first while it loads."""

    embodiment: Embodiment
    yielding: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """To the worker: what to do from now on; answers carry the epoch of their task."""

    instruction: str
    epoch: int
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Committed:
    """
    To the worker: the motion that the robot is committed to, in the arms' base frames.

    upcoming: what will be commanded from now on, resampled; None when nothing is planned.
    executed: the last chunk that was accepted to be executed. firm_s: for how long from the
    observation on the answer shall repeat the plan; 0 for not at all. fade_s: within which time
    after that it may come to differ from it. epoch: of the task it is for.
    """

    upcoming: Chunk | None = None
    executed: Chunk | None = None
    firm_s: float = 0.0
    fade_s: float = 0.0
    epoch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRange:
    """The smallest and largest of each number in the data a checkpoint was trained on."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """
    What a checkpoint says of itself, None where it (or its server) does not say.

    trained_domains: rows of the soft prompts that training may have seen. first_anchor_index: see
    `PolicySettings`. action_range, state_range: of its training data.
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
    """From the worker: the predictor is loaded and warm."""

    facts: CheckpointFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """
    Where the time of one answer went [s].

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
    """From the worker: why it cannot predict, by who says so; no reason when it can again."""

    source: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """From the worker: it cannot go on. It ends after this."""

    text: str


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
        pass  # the other side is gone already
