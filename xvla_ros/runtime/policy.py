# SPDX-License-Identifier: Apache-2.0
"""
The control side of a policy: what it is told, what it hears of the inference side, what it sends.

One for all: the live node ticks it from a thread, a replay and an evaluation from a simulated
clock (`simulated.py`). Where inputs come from and where targets go is all that differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, ObservationError, Reason, reason_of
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.committed import CommittedPlans
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.home import HomeMotion
from xvla_ros.runtime.inputs import Arms
from xvla_ros.runtime.intake import Judged
from xvla_ros.runtime.spaces import make_space
from xvla_ros.runtime.state import Command, CONTROLLER
from xvla_ros.runtime.worker_messages import Answer, Task, Waiting


class Outputs(Protocol):
    """Where targets and judged chunks go."""

    def send(self, command: Command, now_ns: int) -> None:
        """Take one control tick's command."""

    def show(self, judged: Judged) -> None:
        """Take a judged chunk."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ticked:
    """What one control tick saw and sent; None where the arms were not known, nothing left."""

    measured: tuple[ArmPose, ...] | None
    command: Command | None


class PolicyRuntime:
    """
    One policy on one robot.

    `tick` is the control thread's, `hear` and what follows it the thread's that listens to the
    worker, the rest anyone's.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        clock: Clock,
        arms: Arms,
        outputs: Outputs,
        tell: Callable[[object], object],
    ) -> None:
        """
        Begin without a task.

        :param tell: takes what the inference side is told: a Task or a Committed.
        """
        self._embodiment, self._clock, self._arms = embodiment, clock, arms
        self._outputs, self._tell = outputs, tell
        self.control = PolicyControl(embodiment)
        self._plans = CommittedPlans(embodiment, self.control, tell)
        self._instruction, self._stopped = '', ''

    # Told from outside

    def follow(self, instruction: str) -> None:
        """Drop the plan and follow an instruction, empty for none."""
        self._instruction = instruction
        self.control.set_task(instruction)
        self._tell_task()

    def heed_controller(self, stopped: str) -> None:
        """Hold, and have nothing predicted, while the controller has stopped the arms."""
        self._stopped = stopped
        if stopped:
            reason = Reason(CONTROLLER, stopped)
            self.control.block(CONTROLLER, reason, self._clock.now_ns())
        else:
            self.control.unblock(CONTROLLER)
        self._tell_task()

    def _tell_task(self) -> None:
        """Have the inference side predict for the task, unless nobody would execute it."""
        active = bool(self._instruction) and not self._stopped
        task = Task(instruction=self._instruction, epoch=self.control.epoch, active=active)
        self._tell(task)

    def motion_to(self, end: tuple[ArmPose, ...] | None) -> HomeMotion:
        """
        Return a motion of all arms from where they are; nothing moves yet.

        :raises ConfigError: they may not move now, or it is not known where they are or shall go.
        """
        if end is None:
            raise ConfigError('the start pose is unknown: an arm has no urdf')
        if not self.control.armed:
            raise ConfigError('cannot go home: the robot is not armed')
        if reason := self.control.held_by:
            raise ConfigError(f'cannot go home: {reason}')
        try:
            start = self._arms.read()
        except ObservationError as error:
            raise ConfigError(f'cannot go home: {error}') from error
        space = make_space(self._embodiment)
        return HomeMotion(start, end, self._embodiment.limits, self._clock.now_ns(), space)

    # Heard from the inference side

    def hear(self, message: Answer | Waiting) -> Judged | None:
        """Take what the inference side says; return an answer's chunk when it was judged."""
        now_ns = self._clock.now_ns()
        if isinstance(message, Answer):
            return self._judge(message, now_ns)
        if message.reason:
            self.control.block(message.source, message.reason, now_ns)
        else:
            self.control.unblock(message.source)
        return None

    def _judge(self, answer: Answer, now_ns: int) -> Judged | None:
        judged = self.control.judge(answer, now_ns)
        if judged is not None:
            self._plans.judged(judged, answer.epoch, now_ns)
            self._outputs.show(judged)
        return judged

    def lost(self, text: str) -> None:
        """
        Hold at once; whether motion may come back by itself is the embodiment's choice.

        :param text: why there is no inference side.
        """
        now_ns, reason = self._clock.now_ns(), Reason('worker', text)
        self.control.block('worker', reason, now_ns)
        if not self._embodiment.control.resume_after_restart:
            self.control.fault(reason, now_ns)

    # Control

    def tick(self, now_ns: int) -> Ticked:
        """Measure, decide, send."""
        measured, trouble = None, Reason()
        try:
            measured = self._arms.read()
        except ObservationError as error:
            trouble = reason_of(error)
        command = self.control.tick(now_ns, measured, trouble)
        if command is not None:
            self._outputs.send(command, now_ns)
        return Ticked(measured=measured, command=command)

    def withdraw_plan(self) -> None:
        """Tell the inference side, if it is new, that nothing is followed; call after changes."""
        self._plans.withdraw()
