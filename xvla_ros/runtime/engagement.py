# SPDX-License-Identifier: Apache-2.0
"""A motion from the first target after a hold until the next hold: along the plan, or home."""

from collections.abc import Sequence
from dataclasses import replace

from xvla_ros.control.spaces import make_model
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.gripper import ContinuousGripper, GripperFilter
from xvla_ros.core.interpolation import State as Planned
from xvla_ros.core.safety import make_step_gate
from xvla_ros.runtime.home import HomeMotion
from xvla_ros.runtime.intake import Intake
from xvla_ros.runtime.state import State

Poses = Sequence[ArmPose]
Targets = tuple[ArmPose, ...]


class Engagement:
    """Steps along the plan or the home motion, through the step gate. Its owner locks."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Begin at rest."""
        self._gate = make_step_gate(embodiment, make_model(embodiment))
        self._grippers = [
            ContinuousGripper() if arm.joints else GripperFilter(arm.gripper)
            for arm in embodiment.arms.values()
        ]
        self._ramp_ns = round(embodiment.control.engage_s * NANOSECONDS)
        self._since_ns: int | None = None  # when the motion began; None at rest
        self._last: Targets | None = None
        self._period_s = 1.0 / embodiment.control.rate_hz
        self._count = round(embodiment.control.ahead_s / self._period_s)
        self.ahead: tuple[tuple[Planned, ...], ...] = ()  # the plan after the last step's targets
        self.home: HomeMotion | None = None

    def retune(self, embodiment: Embodiment) -> None:
        """Use the limits and gripper thresholds of an embodiment from the next tick on."""
        self._gate.limit(embodiment.limits)
        for gripper, arm in zip(self._grippers, embodiment.arms.values(), strict=True):
            gripper.retune(arm.gripper)

    def state(self, now_ns: int) -> State | None:
        """Return ENGAGING during the ramp, RUNNING after it, None at rest."""
        if self._since_ns is None:
            return None
        return State.ENGAGING if now_ns - self._since_ns < self._ramp_ns else State.RUNNING

    def rest(self, home: HomeMotion | None = None) -> None:
        """End the motion; the next one follows `home`, or the plan without it."""
        self._since_ns, self.home = None, home
        self.ahead = ()

    def step(
        self,
        now_ns: int,
        measured: Poses,
        dt_s: float,
        intake: Intake,
        has_task: bool,
        armed: bool,
    ) -> Targets | None:
        """
        Return the checked targets of a tick; None for a hold.

        :param measured: the measured arms.
        :param dt_s: time since the tick before [s].
        """
        planned = self._planned(now_ns, intake, has_task)
        if planned is None or not armed:
            self.rest(self.home)
            return None
        if self._since_ns is not None and not dt_s:
            return self._last  # a simulated clock may stand still between two ticks
        if self._since_ns is None:
            self._begin(measured, now_ns)
            if not self.home:
                intake.queue.engage(measured, now_ns)  # ramp from the measured poses
                planned = self._planned(now_ns, intake, has_task) or planned
        self._last, unchanged = self._checked(planned, measured, dt_s, intake)
        follow = unchanged and self._count and not self.home
        self.ahead = intake.queue.ahead(now_ns, self._period_s, self._count) if follow else ()
        return self._last

    def _begin(self, measured: Poses, now_ns: int) -> None:
        """Begin at the measured poses, at rest."""
        self._since_ns = now_ns
        self._gate.reset()
        for arm, gripper in zip(measured, self._grippers, strict=True):
            gripper.reset(arm.gripper, now_ns)

    def _planned(self, now_ns: int, intake: Intake, has_task: bool) -> Targets | None:
        """Return unchecked targets of the home motion or the plan; grippers as openings."""
        if self.home and (targets := self.home.at(now_ns)):
            return targets
        self.home = None
        planned = intake.queue.take(now_ns) if has_task else None
        if planned is None:
            intake.counters.starved_ticks += intake.task_chunks > 0
            return None
        return tuple(
            replace(arm, gripper=gripper.update(arm.gripper, now_ns))
            for arm, gripper in zip(planned, self._grippers, strict=True)
        )

    def _checked(
        self, planned: Targets, measured: Poses, dt_s: float, intake: Intake
    ) -> tuple[Targets | None, bool]:
        """Return what the gate allows of a step, None for nothing, and whether that is all."""
        verdict = self._gate.check(planned, measured, dt_s)
        if not verdict.accepted:
            intake.refuse_step(verdict)
            return None, False
        intake.counters.clamped_steps += bool(verdict.reasons)
        return verdict.targets, not verdict.reasons
