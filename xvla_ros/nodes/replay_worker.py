# SPDX-License-Identifier: Apache-2.0
"""The inference worker in simulated time: when an inference happens, and who answers it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.profile import ActionProfile
from xvla_ros.nodes.inference_inputs import ObservationInputs
from xvla_ros.nodes.worker_link import Answer, Task, Timing, Waiting

NEVER_NS = 2**63 - 1


class Loop(Protocol):
    """What answers observations: InferenceLoop, or RecordedLoop."""

    last_ns: int

    def tell(self, message: object) -> None:
        """Take a Task or a Plan."""

    def attempt(self, task: Task) -> float | None:
        """Answer once; return how long to pause when it could not [s]."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RecordedChunk:
    """A chunk from the bag, base frame, and when it was received [ns, bag's clock]."""

    chunk: Chunk
    received_ns: int


class RecordedLoop:
    """
    Answers with the chunks that were recorded, in their order; no model is needed.

    Observations are made and proprioception is computed as if there were one.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        chunks: Sequence[RecordedChunk],
        inputs: ObservationInputs,
        send: Callable[[object], None],
    ) -> None:
        """Remember the answers."""
        self._profile, self._inputs, self._send = ActionProfile(embodiment), inputs, send
        self._chunks = {recorded.chunk.stamp_ns: recorded.chunk for recorded in chunks}
        self.last_ns = 0

    def tell(self, message: object) -> None:
        """Take a Task or a Plan; neither changes what was recorded."""

    def attempt(self, task: Task) -> float | None:
        """Send the chunk that was recorded for the observation of now."""
        try:
            observation = self._inputs.observe(task.instruction)
        except ObservationError as error:
            self._send(Waiting(source='observation', reason=str(error)))
            return 0.0
        self._profile.proprio(observation.arms)
        self.last_ns = observation.stamp_ns
        chunk = self._chunks[observation.stamp_ns]
        arms = tuple(observation.arms)
        self._send(Answer(chunk=chunk, arms=arms, epoch=task.epoch, timing=Timing()))
        return None


class FixedLatency:
    """Inferences as the live worker makes them, each taking the same time."""

    def __init__(self, latency_s: float, replan_period_s: float) -> None:
        """Give how long an answer takes, and the least time between two inferences."""
        self._latency_ns = round(latency_s * NANOSECONDS)
        self._period_ns = max(round(replan_period_s * NANOSECONDS), self._latency_ns)

    def wants(self, now_ns: int, inputs: ObservationInputs, loop: Loop) -> bool:
        """Tell whether to begin an inference now."""
        return inputs.wait_for_frame(loop.last_ns, 0.0)

    def due_ns(self, now_ns: int) -> int:
        """Return when an inference that begins now has its answer."""
        return now_ns + self._latency_ns

    def next_ns(self, now_ns: int) -> int:
        """Return when the next may begin after one that begins now."""
        return now_ns + self._period_ns


class RecordedSchedule:
    """Inferences of the observations that were answered live, answered when those were."""

    def __init__(self, chunks: Sequence[RecordedChunk]) -> None:
        """Take the recorded chunks in the order of their receipt."""
        self._waiting = sorted(chunks, key=lambda recorded: recorded.received_ns)
        self.missed = 0

    def wants(self, now_ns: int, inputs: ObservationInputs, loop: Loop) -> bool:
        """Tell whether the observation that could be made now is the next that was answered."""
        while self._waiting and self._waiting[0].received_ns < now_ns:
            self._waiting.pop(0)
            self.missed += 1
        if not self._waiting:
            return False
        try:
            return inputs.stamp_ns() == self._waiting[0].chunk.stamp_ns
        except ObservationError:
            return False

    def due_ns(self, now_ns: int) -> int:
        """Return when the answer to the observation of now was received."""
        return self._waiting.pop(0).received_ns

    def next_ns(self, now_ns: int) -> int:
        """Return when to look again: at once."""
        return now_ns


class ReplayedWorker:
    """One inference in flight, the newest observation wins."""

    def __init__(
        self,
        loop: Loop,
        inputs: ObservationInputs,
        schedule: FixedLatency | RecordedSchedule,
    ) -> None:
        """Begin without a task."""
        self._loop, self._inputs, self._schedule = loop, inputs, schedule
        self._task = Task(instruction='', epoch=0, active=False)
        self._answer: Answer | None = None
        self._due_ns, self._free_ns = NEVER_NS, 0
        self.retry_ns = NEVER_NS

    def follow(self, task: Task) -> None:
        """Begin a task; an answer under way belongs to the one before, as its epoch tells."""
        self._task = task
        self._loop.tell(task)

    def keep(self, answer: Answer) -> None:
        """Hold back an answer until it is due."""
        self._answer = answer

    @property
    def due_ns(self) -> int:
        """When the answer in flight is there."""
        return self._due_ns

    def take(self) -> Answer | None:
        """Return the answer that is due."""
        answer, self._answer, self._due_ns = self._answer, None, NEVER_NS
        return answer

    def look(self, now_ns: int) -> None:
        """Begin an inference when one may begin."""
        self.retry_ns = NEVER_NS
        if not self._task.active or self._due_ns != NEVER_NS:
            return
        if now_ns < self._free_ns:
            self.retry_ns = self._free_ns
        elif self._schedule.wants(now_ns, self._inputs, self._loop):
            pause_s = self._loop.attempt(self._task)
            if pause_s is None:
                self._free_ns = self._schedule.next_ns(now_ns)
                self._due_ns = self._schedule.due_ns(now_ns)
            else:
                self._free_ns = now_ns + round(pause_s * NANOSECONDS)
