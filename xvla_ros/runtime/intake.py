# SPDX-License-Identifier: Apache-2.0
"""How chunks enter the queue: each is numbered, checked and counted. Free of ROS."""

from collections.abc import Sequence
from dataclasses import replace
import math
from typing import NamedTuple

from xvla_ros.control.spaces import make_chunk_collisions, make_model, make_space
from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.latency import LatencyEstimate
from xvla_ros.core.safety import make_chunk_gate
from xvla_ros.core.space import Space
from xvla_ros.core.verdict import Verdict
from xvla_ros.runtime.state import Counters, Snapshot, State
from xvla_ros.runtime.worker_messages import Answer, Timing

FIRST_CHUNK = Reason('first_chunk', 'waiting for the first chunk')
RAN_OUT = Reason('ran_out', 'the plan ran out before the next chunk came')


class Judged(NamedTuple):
    """A numbered chunk as the gate left it, its verdict, and whether the queue took it."""

    chunk: Chunk
    verdict: Verdict
    queued: bool


class Intake:
    """
    The chunks since activation: queue, gate, counters, latency. Its owner locks.

    `rejection` is why the last chunk or step was refused; empty when it was accepted.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Begin with nothing received."""
        self._embodiment = embodiment
        self._future_ns = round(embodiment.control.future_tolerance_s * NANOSECONDS)
        self.space = make_space(embodiment)
        self.queue = make_queue(embodiment, embodiment.control.strategy, self.space)
        self.latency = LatencyEstimate()
        self.counters = Counters()  # PolicyControl counts in them, too
        self.timing, self.observation_age_s = Timing(), math.nan
        self.sequence = self.refused_steps = 0
        self._model = make_model(embodiment)
        self._gate = make_chunk_gate(embodiment, self._model)
        self._collisions = make_chunk_collisions(embodiment)
        self.begin_task()

    def limit(self, embodiment: Embodiment) -> None:
        """Use the limits of an embodiment from the next chunk on."""
        self._gate = make_chunk_gate(embodiment, self._model)

    def begin_task(self) -> None:
        """Drop the plan and the last task's rejection."""
        self.queue.clear()
        self.task_chunks, self.rejection = 0, Reason()

    def number(self, answer: Answer, now_ns: int) -> Chunk:
        """Return an answer's chunk with the next sequence number; record its timing."""
        self.sequence += 1
        self.counters.chunks += 1
        self.timing = answer.timing
        self.observation_age_s = max(now_ns - answer.chunk.stamp_ns, 0) / NANOSECONDS
        self.latency.observe(self.observation_age_s)
        return replace(answer.chunk, sequence=self.sequence)

    def check(self, chunk: Chunk, measured: Sequence[ArmPose]) -> Verdict:
        """Check a chunk. This takes long and needs no lock; one thread may call."""
        verdict = self._gate.check(chunk, measured)
        if verdict.chunk is None or self._collisions is None:
            return verdict
        if not (links := self._collisions.touching(verdict.chunk, measured)):
            return verdict
        reasons, text = ('collision', *verdict.reasons), f'collision: {links}'
        return Verdict(accepted=False, reasons=reasons, message=text)

    def restart(self) -> None:
        """Make a new queue after the clock was set back."""
        self.queue = make_queue(self._embodiment, self.queue.strategy, self.space)

    def take(self, chunk: Chunk, verdict: Verdict, wanted: bool, now_ns: int) -> Judged:
        """Count a verdict, and queue an accepted chunk if it is wanted."""
        self.rejection = Reason() if verdict.accepted else _refusal(verdict)
        self.counters.rejected_chunks += not verdict.accepted
        if not verdict.accepted:
            self.counters.faults.update(f'chunk rejected: {code}' for code in verdict.reasons)
        if verdict.chunk is None:
            return Judged(chunk, verdict, queued=False)
        queued = wanted and self._put(verdict.chunk, now_ns)
        return Judged(verdict.chunk, verdict, queued=queued)

    def _put(self, chunk: Chunk, now_ns: int) -> bool:
        """Queue a chunk; return whether the queue took it."""
        if chunk.stamp_ns - now_ns > self._future_ns:
            return False  # made before the clock was set back
        queued = self.queue.put(chunk, now_ns)
        self.counters.dropped_chunks += not queued
        self.task_chunks += queued
        return queued

    def refuse_step(self, verdict: Verdict) -> None:
        """Record a refused step. The owner must drop the plan."""
        self.refused_steps += 1
        self.rejection = _refusal(verdict)
        self.counters.faults.update(f'step rejected: {code}' for code in verdict.reasons)

    def planless(self) -> tuple[State, Reason]:
        """Return the state without a plan, and why there is none."""
        if self.rejection or self.task_chunks:
            return State.HOLDING, self.rejection or RAN_OUT
        return State.WAITING, FIRST_CHUNK

    def snapshot(
        self, state: State, reason: Reason, latched: Reason, armed: bool, now_ns: int
    ) -> Snapshot:
        """Return all counters with the owner's state."""
        return Snapshot(
            state=state,
            reason=reason,
            latched=latched,
            armed=armed,
            sequence=self.sequence,
            timing=self.timing,
            observation_age_s=self.observation_age_s,
            queue_remaining_s=self.queue.remaining_s(now_ns),
            counters=replace(self.counters, faults=self.counters.faults.copy()),
        )


def _refusal(verdict: Verdict) -> Reason:
    """Return why the gate refused; its code is the first rule's."""
    return Reason(verdict.reasons[0], verdict.message)


def make_queue(embodiment: Embodiment, strategy: str, space: Space) -> ChunkQueue:
    """Return a queue with an embodiment's settings and the given strategy."""
    control = embodiment.control
    return ChunkQueue(
        strategy=strategy,
        blend_s=control.blend_s,
        ensemble_decay=control.ensemble_decay,
        engage_s=control.engage_s,
        arms=len(embodiment.arm_names),
        space=space,
    )
