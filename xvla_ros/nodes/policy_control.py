# SPDX-License-Identifier: Apache-2.0
"""
What leaves the policy at each control tick: the plan, a hold, or nothing. No ROS in here.

Chunks are judged when they arrive, every step once more before it leaves. Anything that is
missing, stale, refused or dead blocks; while something does the robot holds, and motion begins
again with the ramp from where the robot is.
"""

from collections.abc import Sequence
from threading import RLock

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.latency import LatencyEstimate
from xvla_ros.nodes.policy_engagement import Engagement
from xvla_ros.nodes.policy_holds import DROP_PLAN, Holds, INPUTS
from xvla_ros.nodes.policy_home import HomeMotion
from xvla_ros.nodes.policy_intake import Intake, Judged
from xvla_ros.nodes.policy_state import Command, Snapshot, State
from xvla_ros.nodes.worker_link import Answer


class PolicyControl:
    """
    The decision at each tick. Any thread may call; the lock is held for microseconds.

    `tick` is the control thread's, `judge` the thread's that receives chunks, the rest anyone's.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Start as `activate` does."""
        self._embodiment = embodiment
        self._engagement = Engagement(embodiment)
        self._lock = RLock()
        self._instruction, self._epoch = '', 0
        self._holds = Holds()  # for life: a stop outlasts a deactivation
        self.estop = False  # whether the e-stop was pressed when last heard of
        self.activate()

    def activate(self) -> None:
        """Begin anew, but for what holds: no counts, no task, armed as the embodiment says."""
        with self._lock:
            self._armed = self._embodiment.control.start_armed
            self._intake = Intake(self._embodiment)
            self._instruction, self._epoch = '', self._epoch + 1
            self._home: HomeMotion | None = None
            self._last_tick_ns, self._last_targets = 0, None
            self._engagement.end()

    @property
    def queue(self) -> ChunkQueue:
        """The plan."""
        return self._intake.queue

    @property
    def latency(self) -> LatencyEstimate:
        """How long chunks take from observation to queue."""
        return self._intake.latency

    @property
    def armed(self) -> bool:
        """Whether targets may leave."""
        return self._armed

    @property
    def follows_plan(self) -> bool:
        """Whether what is planned is what leaves: not in a dry run, a hold or a home motion."""
        with self._lock:
            return self._armed and not self._holds and not self._home

    @property
    def held_by(self) -> str:
        """The fault or the oldest reason that forbids motion, empty without one."""
        with self._lock:
            return self._holds.reason

    def set_armed(self, armed: bool) -> None:
        """Let targets leave, or not."""
        with self._lock:
            if armed != self._armed:
                self._home = None
            self._armed = armed
            self._engagement.end()

    def set_task(self, instruction: str) -> int:
        """
        Drop the plan and follow an instruction, empty for none.

        :return: the epoch that answers to it will carry.
        """
        with self._lock:
            self._instruction, self._epoch = instruction, self._epoch + 1
            self._home = None
            self._engagement.end()
            self._intake.begin_task()
            return self._epoch

    def go_home(self, motion: HomeMotion) -> None:
        """Make one motion that no chunk is behind."""
        with self._lock:
            self._home = motion
            self._engagement.end()

    def block(self, source: str, reason: str, now_ns: int) -> None:
        """Hold until `unblock`, and say why."""
        with self._lock:
            begun = self._holds.block(source, reason)
            if begun and (self._instruction or self._home):
                self._intake.counters.faults[f'hold: {reason.split(":")[0]}'] += 1
            if begun:
                self._home = None  # its clock would run on
            if begun and source in DROP_PLAN:
                self._drop_plan(now_ns)

    def unblock(self, source: str) -> None:
        """Take back what one source said."""
        with self._lock:
            self._holds.unblock(source)

    def fault(self, reason: str, now_ns: int) -> None:
        """Hold until `reset`; the first reason stays."""
        with self._lock:
            if not self._holds.fault:
                self._holds.fault = reason
                self._intake.counters.faults[f'fault: {reason.splitlines()[0]}'] += 1
            self._drop_plan(now_ns)

    def reset(self, now_ns: int) -> None:
        """Clear the fault; what blocks goes on blocking."""
        with self._lock:
            self._holds.fault = ''
            self._drop_plan(now_ns)

    def restarted(self, count: int) -> None:
        """Take note that a new worker is ready."""
        with self._lock:
            self._intake.counters.worker_restarts = count
            self._holds.unblock('worker', *INPUTS)
            self.latency.reset()

    @property
    def epoch(self) -> int:
        """Number of the task."""
        with self._lock:
            return self._epoch

    def judge(self, answer: Answer, now_ns: int) -> Judged | None:
        """Check a chunk and queue it if it may be executed; None for one of another task."""
        with self._lock:
            if answer.epoch != self._epoch or not self._instruction:
                return None
            chunk = self._intake.number(answer, now_ns)
        verdict = self._intake.check(chunk, answer.arms)
        with self._lock:
            if answer.epoch != self._epoch:
                return None  # the task changed meanwhile
            return self._intake.take(chunk, verdict, not self._holds.forbids_plans, now_ns)

    def tick(
        self, now_ns: int, measured: Sequence[ArmPose] | None, trouble: str
    ) -> Command | None:
        """
        Return what to send now, None for nothing.

        :param measured: the arms as they are; None when that cannot be known, `trouble` says why.
        """
        with self._lock:
            self._intake.counters.ticks += 1
            dt_s = (now_ns - self._last_tick_ns) / NANOSECONDS
            self._last_tick_ns = now_ns
            if dt_s < 0:  # the clock was set back: what was planned is of another time
                self._intake.restart()
                self._drop_plan(now_ns)
            if measured is None:
                self.block('state', trouble, now_ns)
            else:
                self.unblock('state')
            self._last_targets = targets = self._targets(now_ns, measured, dt_s)
            if targets is None:
                self._engagement.end()
            if not self._armed:
                return None
            return Command(targets=targets, sequence=self._intake.sequence)

    def _targets(
        self, now_ns: int, measured: Sequence[ArmPose] | None, dt_s: float
    ) -> tuple[ArmPose, ...] | None:
        """Return the checked targets, None for a hold."""
        if measured is None or self._holds:
            return None
        planned = self._planned(now_ns)
        if planned is None or not self._armed:
            return None
        if self._engagement and not dt_s:
            return self._last_targets  # the clock is slower than the ticks, as simulated ones are
        if not self._engagement:
            self._engagement.begin(measured, now_ns)
            if not self._home:
                self.queue.engage(measured, now_ns)  # ramp from where the arms are
                planned = self._planned(now_ns) or planned
        verdict = self._engagement.check(planned, measured, dt_s)
        if verdict.accepted:
            self._intake.counters.clamped_steps += bool(verdict.reasons)
            return verdict.targets
        self._intake.refuse_step(verdict)
        self._drop_plan(now_ns)
        return None

    def _planned(self, now_ns: int) -> tuple[ArmPose, ...] | None:
        """Return the targets of the home motion or the plan, unchecked, grippers as openings."""
        if self._home and (targets := self._home.at(now_ns)):
            return targets
        self._home = None
        planned = self.queue.take(now_ns) if self._instruction else None
        if planned is None:
            self._intake.counters.starved_ticks += self._intake.task_chunks > 0
            return None
        return self._engagement.open(planned, now_ns)

    def _drop_plan(self, now_ns: int) -> None:
        """Forget the plan, and answers still under way to what was seen until now."""
        self.queue.clear(now_ns)
        self._home = None
        self._engagement.end()

    def state(self, now_ns: int) -> State:
        """Return what it is doing."""
        with self._lock:
            return self._state(now_ns)[0]

    def snapshot(self, now_ns: int) -> Snapshot:
        """Return the state at this moment."""
        with self._lock:
            return self._intake.snapshot(*self._state(now_ns), self._armed, now_ns)

    def _state(self, now_ns: int) -> tuple[State, str]:
        if self._holds.fault:
            return State.FAULT, self._holds.fault
        if not self._instruction and not self._home:
            return State.IDLE, ''
        source, reason = self._holds.first()
        if source:
            return (State.WAITING if source in INPUTS else State.HOLDING), reason
        if moving := self._engagement.state(now_ns):
            return moving, 'going home' * bool(self._home)
        if self._home or self.queue.remaining_s(now_ns):
            return (State.HOLDING if self._armed else State.DRY_RUN), self._intake.rejection
        return self._intake.planless()
