# SPDX-License-Identifier: Apache-2.0
"""
What leaves the policy at each control tick: the plan, a hold, or nothing. No ROS in here.

Chunks are judged when they arrive, every step once more before it leaves. Anything that is
missing, stale, refused or dead blocks; while something does the robot holds, and motion begins
again with the ramp from where the robot is.
"""

from collections.abc import Sequence
from dataclasses import replace
import math
from threading import Lock

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.gripper import GripperFilter
from xvla_ros.core.latency import LatencyEstimate
from xvla_ros.core.safety import SafetyGate, Verdict
from xvla_ros.nodes.policy_holds import DROP_PLAN, Holds, INPUTS
from xvla_ros.nodes.policy_home import HomeMotion
from xvla_ros.nodes.policy_state import Command, Counters, Snapshot, State
from xvla_ros.nodes.worker_link import Answer, Timing

Targets = tuple[ArmPose, ...]


class PolicyControl:
    """
    The decision at each tick. Any thread may call; the lock is held for microseconds.

    `tick` is the control thread's, `judge` the thread's that receives chunks, the rest anyone's.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Start as `activate` does."""
        self.queue = make_queue(embodiment)
        self.latency = LatencyEstimate()
        self._embodiment = embodiment
        self._chunk_gate, self._step_gate = SafetyGate(embodiment), SafetyGate(embodiment)
        self._grippers = [GripperFilter(arm.gripper) for arm in embodiment.arms.values()]
        self._lock = Lock()
        self._instruction, self._epoch = '', 0
        self.activate()

    def activate(self) -> None:
        """Begin anew: counters at zero, no task, armed or not as the embodiment says."""
        with self._lock:
            self._armed = self._embodiment.control.start_armed
            self._holds, self._counters = Holds(), Counters()
            self._instruction, self._epoch = '', self._epoch + 1
            self._home: HomeMotion | None = None
            self._sequence, self._episode_chunks, self._rejection = 0, 0, ''
            self._timing, self._observation_age_s = Timing(), math.nan
            self._last_tick_ns = 0
            self._drop_plan()

    # Events

    @property
    def armed(self) -> bool:
        """Whether targets may leave."""
        return self._armed

    def set_armed(self, armed: bool) -> None:
        """Let targets leave, or not."""
        with self._lock:
            self._armed = armed
            self._engaged_ns = None

    def set_task(self, instruction: str) -> int:
        """
        Drop the plan and follow an instruction, empty for none.

        :return: the epoch that answers to it will carry.
        """
        with self._lock:
            self._instruction, self._epoch = instruction, self._epoch + 1
            self._home, self._episode_chunks, self._rejection = None, 0, ''
            self._drop_plan()
            return self._epoch

    def go_home(self, motion: HomeMotion) -> None:
        """Make one motion that no chunk is behind."""
        with self._lock:
            self._home, self._engaged_ns = motion, None

    def block(self, source: str, reason: str) -> None:
        """Hold until `unblock`, and say why."""
        with self._lock:
            self._block(source, reason)

    def unblock(self, source: str) -> None:
        """Take back what one source said."""
        with self._lock:
            self._holds.unblock(source)

    def fault(self, reason: str) -> None:
        """Hold until `reset`; the first reason stays."""
        with self._lock:
            if not self._holds.fault:
                self._holds.fault = reason
                self._counters.faults[f'fault: {reason.splitlines()[0]}'] += 1
            self._drop_plan()

    def reset(self) -> None:
        """Clear the fault; what blocks goes on blocking."""
        with self._lock:
            self._holds.fault = ''
            self._drop_plan()

    def restarted(self, count: int) -> None:
        """Take note that a new worker is ready."""
        with self._lock:
            self._counters.worker_restarts = count
            for source in ('worker', *INPUTS):
                self._holds.unblock(source)
            self.latency.reset()

    # Chunks

    def judge(
        self, answer: Answer, measured: Sequence[ArmPose], now_ns: int
    ) -> tuple[Chunk, Verdict] | None:
        """
        Check a chunk and queue it if it may be executed.

        :return: the chunk as it will be executed, numbered, and the verdict; None when it answers
            what is no longer the task.
        """
        with self._lock:
            if answer.epoch != self._epoch or not self._instruction:
                return None
            chunk = self._number(answer, now_ns)
        verdict = self._chunk_gate.check(chunk, measured)  # too long to keep the lock for
        with self._lock:
            self._count(verdict)
            if verdict.chunk is None:
                return chunk, verdict
            if answer.epoch == self._epoch and not self._holds.forbids_plans:
                queued = self.queue.put(verdict.chunk, now_ns)
                self._counters.dropped_chunks += not queued
                self._episode_chunks += queued
            return verdict.chunk, verdict

    def _number(self, answer: Answer, now_ns: int) -> Chunk:
        """Return the chunk with the next sequence; note where its time went."""
        self._sequence += 1
        self._counters.chunks += 1
        self._timing = answer.timing
        self._observation_age_s = max(now_ns - answer.chunk.stamp_ns, 0) / NANOSECONDS
        self.latency.observe(self._observation_age_s)
        return replace(answer.chunk, sequence=self._sequence)

    def _count(self, verdict: Verdict) -> None:
        self._rejection = '' if verdict.accepted else verdict.message
        if not verdict.accepted:
            self._counters.rejected_chunks += 1
            self._counters.faults.update(f'chunk rejected: {code}' for code in verdict.reasons)

    # Ticks

    def tick(
        self, now_ns: int, measured: Sequence[ArmPose] | None, trouble: str
    ) -> Command | None:
        """
        Return what to send now, None for nothing.

        :param measured: the arms as they are; None when that cannot be known, `trouble` says why.
        """
        with self._lock:
            self._counters.ticks += 1
            dt_s = (now_ns - self._last_tick_ns) / NANOSECONDS
            self._last_tick_ns = now_ns
            if measured is None:
                self._block('state', trouble)
            else:
                self._holds.unblock('state')
            targets = self._targets(now_ns, measured, dt_s)
            if targets is None:
                self._engaged_ns = None
            return Command(targets=targets, sequence=self._sequence) if self._armed else None

    def _targets(
        self, now_ns: int, measured: Sequence[ArmPose] | None, dt_s: float
    ) -> Targets | None:
        """Return the checked targets, None for a hold."""
        if measured is None or self._holds:
            return None
        if self._engaged_ns is None and self._armed:
            self._engage(measured, now_ns)
        planned = self._planned(now_ns)
        if planned is None or self._engaged_ns is None:
            return None
        verdict = self._step_gate.check_step(planned, measured, dt_s)
        if verdict.accepted:
            self._counters.clamped_steps += bool(verdict.reasons)
            return verdict.targets
        self._rejection = verdict.message
        self._counters.faults.update(f'step rejected: {code}' for code in verdict.reasons)
        self._drop_plan()
        return None

    def _planned(self, now_ns: int) -> Targets | None:
        """Return the targets of the home motion or the plan, unchecked, grippers as openings."""
        if self._home:
            if not self._home.done(now_ns):
                return self._home.at(now_ns)
            self._home = None
        planned = self.queue.take(now_ns) if self._instruction else None
        if planned is None:
            self._counters.starved_ticks += self._episode_chunks > 0
            return None
        return tuple(
            replace(arm, gripper=gripper.update(arm.gripper, now_ns))
            for arm, gripper in zip(planned, self._grippers, strict=True)
        )

    def _engage(self, measured: Sequence[ArmPose], now_ns: int) -> None:
        """Ramp from where the arms are, once there is something to follow."""
        if not self._home and self.queue.take(now_ns) is None:
            return
        self._engaged_ns = now_ns
        self._step_gate.reset()
        if not self._home:
            self.queue.engage(measured, now_ns)
        for arm, gripper in zip(measured, self._grippers, strict=True):
            gripper.reset(arm.gripper, now_ns)

    def _block(self, source: str, reason: str) -> None:
        begun = self._holds.block(source, reason)
        if begun and (self._instruction or self._home):
            self._counters.faults[f'hold: {reason.split(":")[0]}'] += 1
        if begun and source in DROP_PLAN:
            self._drop_plan()

    def _drop_plan(self) -> None:
        self.queue.clear()
        self._engaged_ns: int | None = None

    # What it shows

    def state(self, now_ns: int) -> State:
        """Return what it is doing."""
        with self._lock:
            return self._state(now_ns)[0]

    def snapshot(self, now_ns: int) -> Snapshot:
        """Return the state at this moment."""
        with self._lock:
            state, message = self._state(now_ns)
            return Snapshot(
                state=state,
                message=message,
                armed=self._armed,
                sequence=self._sequence,
                timing=self._timing,
                observation_age_s=self._observation_age_s,
                queue_remaining_s=self.queue.remaining_s(now_ns),
                counters=replace(self._counters, faults=self._counters.faults.copy()),
            )

    def _state(self, now_ns: int) -> tuple[State, str]:
        if self._holds.fault:
            return State.FAULT, self._holds.fault
        if not self._instruction and not self._home:
            return State.IDLE, ''
        source, reason = self._holds.first()
        if source:
            return (State.WAITING if source in INPUTS else State.HOLDING), reason
        if self._engaged_ns is not None:
            engaging = now_ns - self._engaged_ns < self._embodiment.control.engage_s * NANOSECONDS
            return (State.ENGAGING if engaging else State.RUNNING), 'going home' * bool(self._home)
        if self._home or self.queue.remaining_s(now_ns):
            return (State.HOLDING if self._armed else State.DRY_RUN), self._rejection
        if not (self._rejection or self._episode_chunks):
            return State.WAITING, 'waiting for the first chunk'
        return State.HOLDING, self._rejection or 'the plan ran out before the next chunk came'


def make_queue(embodiment: Embodiment) -> ChunkQueue:
    """Return the queue that an embodiment describes."""
    control = embodiment.control
    return ChunkQueue(
        strategy=control.strategy,
        layout=embodiment.policy.rotation_6d_layout,
        blend_s=control.blend_s,
        ensemble_decay=control.ensemble_decay,
        inpaint_s=control.inpaint_s,
        engage_s=control.engage_s,
        arms=len(embodiment.arm_names),
    )
