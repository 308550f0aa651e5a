# SPDX-License-Identifier: Apache-2.0
"""The recorded chunks as answers, and the times at which they came."""

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
        inputs: Inputs,
        send: Callable[[object], None],
    ) -> None:
        """Remember the answers."""
        self._profile, self._inputs, self._send = make_profile(embodiment), inputs, send
        self._chunks = {recorded.chunk.stamp_ns: recorded.chunk for recorded in chunks}
        self.last_ns = 0

    def tell(self, message: object) -> None:
        """Take a Task or a Committed; neither changes what was recorded."""

    def attempt(self, task: Task) -> float | None:
        """Send the chunk that was recorded for the observation of now."""
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
    """Inferences of the observations that were answered live, answered when those were."""

    def __init__(self, chunks: Sequence[RecordedChunk]) -> None:
        """Take the recorded chunks in the order of their receipt."""
        self._waiting = sorted(chunks, key=lambda recorded: recorded.received_ns)
        self.missed = 0

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
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
