# SPDX-License-Identifier: Apache-2.0
"""Steps of all arms: through the gate to the drivers, with the path that follows them."""

from collections.abc import Sequence
from copy import copy

from xvla_ros.control.drivers import ArmStep
from xvla_ros.control.handover import Handover, unmeasured
from xvla_ros.control.pace import Pace
from xvla_ros.control.spaces import make_model
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.safety import SafetyGate
from xvla_ros.nodes.controller.robot import Measured, Robot


class Stepper:
    """
    Sends steps and braking steps.

    The state of its gate is the last step that was sent; after `catch_up`, where the arms are by
    now on their path. `hands_over`: whether the arms get paths, on which they would go on.
    """

    def __init__(self, embodiment: Embodiment, robot: Robot) -> None:
        """Begin at rest."""
        self._robot, self._period_s = robot, 1.0 / embodiment.control.rate_hz
        self._gate = SafetyGate(embodiment, make_model(embodiment))
        self._handover = Handover(embodiment.control)
        self.pace, self.hands_over = Pace(self._period_s), self._handover.active

    def begin_anew(self) -> None:
        """Reset the motion: the next one begins at rest, at the measured poses."""
        self._gate.reset()
        self._robot.forget()
        self._handover.forget()
        self.pace.reset()

    def catch_up(self, now_ns: int) -> None:
        """Go on to where the arms are by now on the path that was handed over."""
        self._gate, skipped_ns = self._handover.catch_up(self._gate, now_ns)
        self.pace.skip(skipped_ns)

    def step(
        self,
        targets: Sequence[ArmPose],
        ahead: Sequence[tuple[ArmPose, ...]],
        measured: Measured,
        dt_s: float,
        now_ns: int,
    ) -> tuple[Sequence[ArmStep], Sequence[str]]:
        """
        Send a step towards the targets; return the drivers' plans and the gate's reasons.

        :param ahead: targets of the following periods. :param dt_s: duration of the step.
        :raises ObservationError: the gate or a driver refuses the step. A braking step has been
            sent instead.
        """
        dt_s = min(dt_s, self._handover.longest_s(now_ns))
        before = copy(self._gate)
        verdict = self._gate.check_step(targets, measured.poses, dt_s)
        if not (verdict.accepted and verdict.targets):
            self.brake(verdict.targets, measured, dt_s, now_ns)
            raise ObservationError(f'limits: {verdict.message}', code=verdict.reasons[0])
        plans = self._robot.plan(verdict.targets, measured, dt_s)
        try:
            self._robot.agree(plans, measured)
        except ObservationError:
            self._gate = before  # the gate must not count a step that was not sent
            self.brake(self._gate.hold(dt_s), measured, dt_s, now_ns)
            raise
        poses = measured.poses
        self._robot.send(self._handover.lead(plans, self._gate, dt_s, now_ns, ahead, poses))
        return plans, verdict.reasons

    def braking(self, now_ns: int) -> tuple[float, tuple[ArmPose, ...] | None]:
        """Return duration [s] and targets of the next braking step; 0 if one was just sent."""
        self.catch_up(now_ns)
        if self.pace.paused(now_ns):
            self._gate.rest()
        dt_s = self.pace.brake(now_ns)
        return dt_s, self._gate.hold(dt_s) if dt_s else None

    def brake(
        self,
        targets: Sequence[ArmPose] | None,
        measured: Measured | None,
        dt_s: float,
        now_ns: int,
    ) -> None:
        """
        Send a braking step, if there is one, to the arms as far as they can follow it.

        :param measured: None only where paths are handed over.
        """
        if targets is None:
            return
        plans = self._robot.plan(targets, measured, dt_s) if measured else unmeasured(targets)
        poses = measured.poses if measured else ()
        self._robot.send(self._handover.lead(plans, self._gate, dt_s, now_ns, measured=poses))

    def stop_unmeasured(self, now_ns: int) -> str:
        """Brake along the path that was handed over, if any; return what was done."""
        if not self.hands_over:
            return 'no stop command was sent'
        self.catch_up(now_ns)
        self.brake(self._gate.hold(self._period_s), None, self._period_s, now_ns)
        return 'the arms brake along their last path'
