# SPDX-License-Identifier: Apache-2.0
"""Uses the recorded chunks as answers, or their times as the schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xvla_ros.control.spaces import make_profile
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError, reason_of
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.simulated import Loop
from xvla_ros.runtime.worker_messages import Answer, Task, Timing, Waiting


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RecordedChunk:
    """A chunk from the bag, base frame, and its time of receipt [ns, bag's clock]."""

    chunk: Chunk
    received_ns: int


class RecordedLoop:
    """
    Answers with the recorded chunks in their order, without a model.

    It makes observations and computes proprioception as with a model.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        chunks: Sequence[RecordedChunk],
        inputs: Inputs,
        send: Callable[[object], None],
    ) -> None:
        """Store the answers."""
        self._profile, self._inputs, self._send = make_profile(embodiment), inputs, send
        self._chunks = {recorded.chunk.stamp_ns: recorded.chunk for recorded in chunks}
        self.last_ns = 0

    def tell(self, message: object) -> None:
        """Ignore a Task or a Committed: neither changes recorded answers."""

    def attempt(self, task: Task) -> float | None:
        """Send the chunk that was recorded for the current observation."""
        try:
            observation = self._inputs.observe(task.instruction)
        except ObservationError as error:
            self._send(Waiting(source='observation', reason=reason_of(error)))
            return 0.0
        self._profile.proprio(observation.arms)
        self.last_ns = observation.stamp_ns
        chunk = self._chunks[observation.stamp_ns]
        arms = tuple(observation.arms)
        self._send(Answer(chunk=chunk, arms=arms, epoch=task.epoch, timing=Timing()))
        return None


class RecordedSchedule:
    """Runs an inference for each observation that was answered live, with the live times."""

    def __init__(self, chunks: Sequence[RecordedChunk]) -> None:
        """:param chunks: the recorded chunks in the order of their receipt."""
        self._waiting = sorted(chunks, key=lambda recorded: recorded.received_ns)
        self.missed = 0

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
        """Tell whether the current observation is the next one that was answered live."""
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
        """Return the time at which the answer to the current observation was received."""
        return self._waiting.pop(0).received_ns

    def next_ns(self, now_ns: int) -> int:
        """Return the next time to check: at once."""
        return now_ns
