# SPDX-License-Identifier: Apache-2.0
"""
The control side of a policy: tasks and answers in, targets out.

The live node, a replay and an evaluation use this class. The node ticks it from a thread, the
others from a simulated clock (`simulated.py`). They differ in where inputs come from and where
targets go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xvla_ros.control.spaces import make_space
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, ObservationError, Reason, reason_of
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.committed import CommittedPlans
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.home import HomeMotion
from xvla_ros.runtime.inputs import Arms
from xvla_ros.runtime.intake import Judged
from xvla_ros.runtime.state import Command, CONTROLLER
from xvla_ros.runtime.worker_messages import Answer, Task, Tuning, Waiting


class Outputs(Protocol):
    """Receives targets and judged chunks."""

    def send(self, command: Command, now_ns: int) -> None:
        """Send the command of one control tick."""

    def show(self, judged: Judged) -> None:
        """Publish or record a judged chunk."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ticked:
    """What one tick measured and sent; None when the arms were not known or nothing was sent."""

    measured: tuple[ArmPose, ...] | None
    command: Command | None


class PolicyRuntime:
    """
    One policy on one robot.

    The control thread calls `tick`. The thread that reads the worker's link calls `hear` and
    `lost`. Any thread may call the other methods.
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

        :param tell: sends a Task or a Committed to the inference side.
        """
        self._embodiment, self._clock, self._arms = embodiment, clock, arms
        self._outputs, self._tell = outputs, tell
        self.control = PolicyControl(embodiment)
        self._plans = CommittedPlans(embodiment, self.control, tell)
        self._instruction, self._stopped = '', Reason()

    # From the user and the controller

    def follow(self, instruction: str) -> None:
        """Drop the plan and begin a task; an empty instruction ends it."""
        self._instruction = instruction
        self.control.set_task(instruction)
        self._tell_task()

    def retune(self, embodiment: Embodiment) -> None:
        """Use the limits, thresholds and warm start of an embodiment from now on."""
        self._embodiment = embodiment
        self.control.retune(embodiment)
        self._plans.retune(embodiment)
        self._tell(Tuning(embodiment=embodiment))

    def heed_controller(self, stopped: Reason) -> None:
        """
        Hold and stop inference while the controller has stopped the arms.

        :param stopped: why it has; empty when it has not.
        """
        self._stopped = stopped
        if stopped:
            self.control.block(CONTROLLER, stopped, self._clock.now_ns())
        else:
            self.control.unblock(CONTROLLER)
        self._tell_task()

    def _tell_task(self) -> None:
        """Send the task to the inference side; it is inactive while the controller has stopped."""
        active = bool(self._instruction) and not self._stopped
        task = Task(instruction=self._instruction, epoch=self.control.epoch, active=active)
        self._tell(task)

    def motion_to(self, end: tuple[ArmPose, ...] | None) -> HomeMotion:
        """
        Return a motion of all arms from their measured poses. It does not begin yet.

        :raises ConfigError: the arms may not move now, or their poses or the end are not known.
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

    # From the inference side

    def hear(self, message: Answer | Waiting) -> Judged | None:
        """Handle a message of the inference side; return the judged chunk of an answer."""
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

    def lost(self, reason: Reason) -> None:
        """
        Hold because the inference side is gone; a fault unless `resume_after_restart` is set.

        :param reason: why it is gone.
        """
        now_ns = self._clock.now_ns()
        self.control.block('worker', reason, now_ns)
        if not self._embodiment.control.resume_after_restart:
            self.control.fault(reason, now_ns)

    # Control

    def tick(self, now_ns: int) -> Ticked:
        """Measure the arms, decide, and send the command."""
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
        """Tell the inference side once that the plan has ended; call after changes of state."""
        self._plans.withdraw()
