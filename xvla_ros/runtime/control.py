# SPDX-License-Identifier: Apache-2.0
"""
The decision of each control tick: targets of the plan, a hold, or no command. Free of ROS.

The gate checks each chunk when it arrives and each step before it is sent. The robot holds while
an input is missing or old, a step is refused or a process is dead. Afterwards a new motion ramps
up from the measured poses.
"""

from threading import RLock

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.jumps import JumpWatch
from xvla_ros.runtime.engagement import Engagement, Poses, Targets
from xvla_ros.runtime.home import HomeMotion
from xvla_ros.runtime.intake import Intake, Judged
from xvla_ros.runtime.state import (
    Command,
    DROP_PLAN,
    ESTOP,
    GOING_HOME,
    Holds,
    INPUTS,
    Snapshot,
    State,
    Underway,
)
from xvla_ros.runtime.worker_messages import Answer


class PolicyControl:
    """
    Decides what is sent at each control tick.

    The control thread calls `tick`, the thread that receives chunks calls `judge`. Any thread may
    call the other methods. The lock is held for microseconds.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Begin in the state that `activate` sets."""
        self._embodiment = embodiment
        self._engagement = Engagement(embodiment)
        self._jumps = JumpWatch(embodiment.arm_names)
        self._lock = RLock()
        self._instruction, self._epoch = '', 0
        self._holds = Holds()  # kept by `activate`: a stop outlasts a deactivation
        self._pressed = False  # the last state of the e-stop
        self.activate()

    def activate(self) -> None:
        """Clear counters, plan and task, and arm as `control.start_armed` says; holds stay."""
        with self._lock:
            self._armed = self._embodiment.control.start_armed
            self._intake = Intake(self._embodiment)
            self._instruction, self._epoch = '', self._epoch + 1
            self._last_tick_ns = 0
            self._engagement.rest()

    @property
    def strategy(self) -> str:
        """How a new chunk joins the current plan: a name of `STRATEGIES`."""
        with self._lock:
            return self._intake.queue.strategy

    def set_strategy(self, name: str) -> None:
        """Use another strategy from the next chunk on; ValueError for an unknown name."""
        with self._lock:
            self._intake.queue.set_strategy(name)

    def retune(self, embodiment: Embodiment) -> None:
        """Use the limits and gripper thresholds of an embodiment from now on."""
        with self._lock:
            self._embodiment = embodiment
            self._intake.limit(embodiment)
            self._engagement.retune(embodiment)

    def underway(self, now_ns: int, period_s: float) -> Underway:
        """Return the plan from now on, resampled at a period."""
        with self._lock:
            follows, queue, epoch = self.follows_plan, self._intake.queue, self._epoch
            latency_s = self._intake.latency.value_s or 0.0
        count = max(1, round(queue.remaining_s(now_ns) / period_s))
        # Not under the lock: this takes longer than a tick may wait.
        upcoming = queue.plan(now_ns, period_s, count) if follows else None
        return Underway(upcoming=upcoming, latency_s=latency_s, epoch=epoch)

    @property
    def armed(self) -> bool:
        """Whether targets are sent."""
        return self._armed

    @property
    def follows_plan(self) -> bool:
        """Whether the plan is what is sent: not in a dry run, a hold or a home motion."""
        with self._lock:
            return self._armed and not self._holds and not self._engagement.home

    @property
    def held_by(self) -> Reason:
        """The fault, or the oldest reason of a hold."""
        with self._lock:
            return self._holds.reason

    def set_armed(self, armed: bool) -> None:
        """Arm: send targets; or disarm: send none."""
        with self._lock:
            self._holds.unblock('arming')
            self._engagement.rest(self._engagement.home if armed == self._armed else None)
            self._armed = armed

    def set_task(self, instruction: str) -> int:
        """Drop the plan and begin a task; return its epoch. An empty instruction ends the task."""
        with self._lock:
            self._instruction, self._epoch = instruction, self._epoch + 1
            self._engagement.rest()
            self._intake.begin_task()
            return self._epoch

    def go_home(self, motion: HomeMotion) -> None:
        """Begin a motion to the home pose, which needs no chunk."""
        with self._lock:
            self._engagement.rest(motion)

    def block(self, source: str, reason: Reason, now_ns: int) -> None:
        """Hold for a reason until `unblock` is called with the same source."""
        with self._lock:
            begun = self._holds.block(source, reason)
            if begun and (self._instruction or self._engagement.home):
                self._intake.counters.faults[f'hold: {reason.counted}'] += 1
            if begun:
                self._engagement.home = None  # its time would run on during the hold
            if begun and source in DROP_PLAN:
                self._drop_plan(now_ns)

    def unblock(self, source: str) -> None:
        """Remove the reason of one source."""
        with self._lock:
            self._holds.unblock(source)

    def fault(self, reason: Reason, now_ns: int) -> None:
        """Hold until `reset`; a second fault does not replace the first reason."""
        with self._lock:
            if not self._holds.fault:
                self._holds.fault = reason
                self._intake.counters.faults[f'fault: {reason.counted}'] += 1
            self._drop_plan(now_ns)

    def heed_estop(self, pressed: bool, now_ns: int) -> None:
        """Latch a fault while the e-stop is pressed."""
        with self._lock:
            self._pressed = pressed
            if pressed:
                self.fault(ESTOP, now_ns)

    def reset(self, now_ns: int) -> str:
        """Clear the fault and return ''; return why not if the e-stop is pressed. Holds stay."""
        with self._lock:
            if self._pressed:
                return 'the e-stop is still pressed'
            self._holds.fault = Reason()
            self._drop_plan(now_ns)
            return ''

    def restarted(self, count: int) -> None:
        """Begin with a new worker that is ready: forget what the last one reported."""
        with self._lock:
            self._intake.counters.worker_restarts = count
            self._holds.unblock('worker', *INPUTS)
            self._intake.latency.reset()

    @property
    def epoch(self) -> int:
        """The number of the current task."""
        with self._lock:
            return self._epoch

    def judge(self, answer: Answer, now_ns: int) -> Judged | None:
        """Check a chunk and queue it if it may be executed; None if it is of another task."""
        with self._lock:
            if answer.epoch != self._epoch or not self._instruction:
                return None
            chunk = self._intake.number(answer, now_ns)
        verdict = self._intake.check(chunk, answer.arms)
        with self._lock:
            if answer.epoch != self._epoch:
                return None  # the task has changed during the check
            return self._intake.take(chunk, verdict, not self._holds.forbids_plans, now_ns)

    def tick(self, now_ns: int, measured: Poses | None, trouble: Reason) -> Command | None:
        """Return the tick's command, None while disarmed; `trouble`: why there are no poses."""
        with self._lock:
            self._intake.counters.ticks += 1
            dt_s = (now_ns - self._last_tick_ns) / NANOSECONDS
            self._last_tick_ns = now_ns
            if dt_s < 0:  # the clock was set back: the plan's times are no longer valid
                self._intake.restart()
                self._drop_plan(now_ns)
            if measured is None:
                self._jumps.forget()
                self.block('state', trouble, now_ns)
            else:
                self.unblock('state')
                jump = self._jumps.look(measured, now_ns)
                if jump and self._engagement.state(now_ns):
                    self.fault(jump, now_ns)
            targets = self._step(now_ns, measured, dt_s)
            if not self._armed:
                return None
            sequence, ahead = self._intake.sequence, self._engagement.ahead
            return Command(targets=targets, sequence=sequence, ahead=ahead)

    def skip_tick(self) -> None:
        """Count a tick at which the clock showed the same time as at the tick before."""
        with self._lock:
            self._intake.counters.ticks += 1

    def _step(self, now_ns: int, measured: Poses | None, dt_s: float) -> Targets | None:
        """Return the checked targets; None for a hold."""
        if measured is None or self._holds:
            self._engagement.rest(self._engagement.home)
            return None
        has_task, armed = bool(self._instruction), self._armed
        refused = self._intake.refused_steps
        targets = self._engagement.step(now_ns, measured, dt_s, self._intake, has_task, armed)
        if self._intake.refused_steps > refused:
            self._drop_plan(now_ns)
        return targets

    def _drop_plan(self, now_ns: int) -> None:
        """Drop the plan, and every later answer to an observation made before now."""
        self._intake.queue.clear(now_ns)
        self._engagement.rest()

    def state(self, now_ns: int) -> State:
        """Return the state."""
        with self._lock:
            return self._state(now_ns)[0]

    def snapshot(self, now_ns: int) -> Snapshot:
        """Return the state with its reason and all counters."""
        with self._lock:
            return self._intake.snapshot(
                *self._state(now_ns), self._holds.latched, self._armed, now_ns
            )

    def _state(self, now_ns: int) -> tuple[State, Reason]:
        if self._holds.fault:
            return State.FAULT, self._holds.fault
        if not self._instruction and not self._engagement.home:
            return State.IDLE, Reason()
        source, reason = self._holds.first()
        if source:
            return (State.WAITING if source in INPUTS else State.HOLDING), reason
        if moving := self._engagement.state(now_ns):
            return moving, GOING_HOME if self._engagement.home else Reason()
        if self._engagement.home or self._intake.queue.remaining_s(now_ns):
            return (State.HOLDING if self._armed else State.DRY_RUN), self._intake.rejection
        return self._intake.planless()
