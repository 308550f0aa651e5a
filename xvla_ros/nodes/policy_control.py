# SPDX-License-Identifier: Apache-2.0
"""
What leaves the policy at each control tick: the plan, a hold, or nothing. No ROS in here.

Chunks are judged when they arrive, every step once more before it leaves. Anything that is
missing, stale, refused or dead is a block; while there is one the robot holds, and motion begins
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
from xvla_ros.nodes.policy_home import HomeMotion
from xvla_ros.nodes.policy_state import Command, Counters, Snapshot, State
from xvla_ros.nodes.worker_link import Answer, Timing

# Blocks whose plan must not be followed when they end: it was made before what they report.
DROP_PLAN = ('inputs', 'observation', 'worker', 'state')
FIRST_CHUNK = 'waiting for the first chunk'


class PolicyControl:
    """
    The decision at each tick. Any thread may call; the lock is held for microseconds.

    `tick` is the control thread's, `judge` the thread's that receives chunks, everything else the
    executor's.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Start disarmed or as the embodiment says, without a task."""
        control, policy = embodiment.control, embodiment.policy
        self.queue = ChunkQueue(
            strategy=control.strategy, layout=policy.rotation_6d_layout, blend_s=control.blend_s,
            ensemble_decay=control.ensemble_decay, inpaint_s=control.inpaint_s, engage_s=control.engage_s,
            arms=len(embodiment.arm_names),
        )  # fmt: skip
        self.latency = LatencyEstimate()
        self._embodiment = embodiment
        self._chunk_gate, self._step_gate = SafetyGate(embodiment), SafetyGate(embodiment)
        self._grippers = [GripperFilter(arm.gripper) for arm in embodiment.arms.values()]
        self._lock = Lock()
        self._armed = control.start_armed
        self._fault = ''
        self._blocks: dict[str, str] = {}
        self._instruction, self._epoch = '', 0
        self._home: HomeMotion | None = None
        self._engaged_ns: int | None = None
        self._last_tick_ns = 0
        self._reset_counters()

    def _reset_counters(self) -> None:
        self._counters = Counters()
        self._sequence, self._episode_chunks = 0, 0
        self._rejection = ''
        self._timing, self._observation_age_s = Timing(), math.nan

    @property
    def armed(self) -> bool:
        """Whether targets may leave."""
        return self._armed

    # Events, from the executor's thread or the one that listens to the worker

    def set_armed(self, armed: bool) -> None:
        """Let targets leave, or not."""
        with self._lock:
            self._armed = armed
            self._disengage()

    def set_task(self, instruction: str) -> int:
        """Drop the plan and follow an instruction, empty for none; return the epoch that its answers will carry."""
        with self._lock:
            self._instruction, self._epoch = instruction, self._epoch + 1
            self._home, self._episode_chunks, self._rejection = None, 0, ''
            self._drop_plan()
            return self._epoch

    def go_home(self, motion: HomeMotion) -> None:
        """Move to the start pose instead of following a plan."""
        with self._lock:
            self._home = motion
            self._disengage()

    def block(self, source: str, reason: str) -> None:
        """Hold until `unblock`, and say why; a fault counter goes up when it begins."""
        with self._lock:
            self._block(source, reason)

    def unblock(self, source: str) -> None:
        """Take back what one source reported."""
        with self._lock:
            self._blocks.pop(source, None)

    def fault(self, reason: str) -> None:
        """Hold until `reset`; the first reason stays."""
        with self._lock:
            if not self._fault:
                self._fault = reason
                self._counters.faults[f'fault: {reason}'] += 1
            self._drop_plan()

    def reset(self) -> None:
        """Clear a latched fault; what still blocks goes on blocking."""
        with self._lock:
            self._fault = ''
            self._drop_plan()

    def restarted(self, count: int) -> None:
        """Take note that a new worker is ready."""
        with self._lock:
            self._counters.worker_restarts = count
            self._blocks.clear()
            self.latency.reset()

    def activate(self) -> None:
        """Begin anew: counters at zero, nothing planned."""
        with self._lock:
            self._armed = self._embodiment.control.start_armed
            self._fault = ''
            self._blocks.clear()
            self._reset_counters()
            self._drop_plan()

    # Chunks, from the thread that listens to the worker

    def judge(
        self, answer: Answer, measured: Sequence[ArmPose], now_ns: int
    ) -> tuple[Chunk, Verdict] | None:
        """
        Check a chunk and queue it if it may be executed; return it as it will be, numbered, with the verdict.

        :return: None when it answers an instruction that is no longer the task.
        """
        with self._lock:
            if answer.epoch != self._epoch or not self._instruction:
                return None
            self._sequence += 1
            chunk = replace(answer.chunk, sequence=self._sequence)
            self._counters.chunks += 1
            self._timing = answer.timing
            self._observation_age_s = (now_ns - chunk.stamp_ns) / NANOSECONDS
            self.latency.observe(max(self._observation_age_s, 0.0))
        verdict = self._chunk_gate.check(chunk, measured)
        with self._lock:
            self._count_verdict(verdict)
            if verdict.accepted and answer.epoch == self._epoch and not self._blocked_plan():
                queued = self.queue.put(verdict.chunk, now_ns)
                self._counters.dropped_chunks += not queued
                self._episode_chunks += queued
        return (verdict.chunk if verdict.accepted else chunk), verdict

    def _count_verdict(self, verdict: Verdict) -> None:
        self._rejection = '' if verdict.accepted else verdict.message
        self._counters.rejected_chunks += not verdict.accepted
        if not verdict.accepted:
            self._counters.faults.update(f'chunk rejected: {code}' for code in verdict.reasons)

    # Ticks, from the control thread

    def tick(
        self, now_ns: int, measured: Sequence[ArmPose] | None, trouble: str
    ) -> Command | None:
        """
        Return what to send now, None for nothing.

        :param measured: the arms as they are, None when their state cannot be used; `trouble` says
            why.
        """
        with self._lock:
            self._counters.ticks += 1
            dt_s = (now_ns - self._last_tick_ns) / NANOSECONDS
            self._last_tick_ns = now_ns
            if measured is None:
                self._block('state', trouble)
            else:
                self._blocks.pop('state', None)
            targets = self._targets(now_ns, measured, dt_s)
            return Command(targets=targets, sequence=self._sequence) if self._armed else None

    def _targets(
        self, now_ns: int, measured: Sequence[ArmPose] | None, dt_s: float
    ) -> tuple[ArmPose, ...] | None:
        """Return the checked targets, None for a hold."""
        if (
            measured is None
            or self._fault
            or self._blocks
            or not (self._armed or self._instruction)
        ):
            self._disengage()
            return None
        if self._engaged_ns is None and self._armed:
            self._engage(measured, now_ns)
        planned = self._planned(now_ns)
        if planned is None or not self._armed:
            self._disengage()
            return None
        verdict = self._step_gate.check_step(planned, measured, dt_s)
        self._counters.clamped_steps += verdict.accepted and bool(verdict.reasons)
        if not verdict.accepted:
            self._rejection = verdict.message
            self._counters.faults.update(f'step rejected: {code}' for code in verdict.reasons)
            self._drop_plan()
            return None
        return verdict.targets

    def _planned(self, now_ns: int) -> tuple[ArmPose, ...] | None:
        """Return the unchecked targets of the home motion or of the plan, grippers as openings."""
        if self._home:
            if not self._home.done(now_ns):
                return self._home.at(now_ns)
            self._home = None
        if not self._instruction:
            return None
        planned = self.queue.take(now_ns)
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

    # Shared, under the lock

    def _block(self, source: str, reason: str) -> None:
        if source not in self._blocks:
            if self._instruction or self._home:
                self._counters.faults[f'hold: {reason.split(":")[0]}'] += 1
            if source in DROP_PLAN:
                self._drop_plan()
        self._blocks[source] = reason
        self._disengage()

    def _blocked_plan(self) -> bool:
        return bool(self._fault) or any(source in self._blocks for source in DROP_PLAN)

    def _disengage(self) -> None:
        self._engaged_ns = None

    def _drop_plan(self) -> None:
        self.queue.clear()
        self._disengage()

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
                state=state, message=message, armed=self._armed, sequence=self._sequence, timing=self._timing,
                observation_age_s=self._observation_age_s, queue_remaining_s=self.queue.remaining_s(now_ns),
                counters=replace(self._counters, faults=self._counters.faults.copy()),
            )  # fmt: skip

    def _state(self, now_ns: int) -> tuple[State, str]:
        if self._fault:
            return State.FAULT, self._fault
        if not self._instruction and not self._home:
            return State.IDLE, ''
        if self._blocks:
            source, reason = next(iter(self._blocks.items()))
            return State.WAITING if source in ('inputs', 'observation') else State.HOLDING, reason
        if self._engaged_ns is None and not self.queue.remaining_s(now_ns) and not self._home:
            return self._idle_state()
        if not self._armed:
            return State.DRY_RUN, ''
        if self._engaged_ns is None:
            return State.HOLDING, self._rejection
        ramp_ns = self._embodiment.control.engage_s * NANOSECONDS
        return (
            State.ENGAGING if now_ns - self._engaged_ns < ramp_ns else State.RUNNING
        ), 'going home' if self._home else ''

    def _idle_state(self) -> tuple[State, str]:
        """Return the state while there is a task but no plan."""
        if self._rejection:
            return State.HOLDING, self._rejection
        if not self._episode_chunks:
            return State.WAITING, FIRST_CHUNK
        return State.HOLDING, 'the plan ran out before the next chunk came'
