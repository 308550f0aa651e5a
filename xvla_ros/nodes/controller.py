# SPDX-License-Identifier: Apache-2.0
"""
controller_node: executes targets through the robot's driver, within its limits.

A target that is old, from the future, malformed, out of limits or that one arm cannot follow is
refused as a whole. Silence is an event: without an executed target for `control.hold_after_s` all
arms stay where they were sent last, without a deadman that is held they brake and stay. An
emergency stop, or an arm that does not follow, latches until ~/reset.
"""

from collections.abc import Sequence
from copy import copy
import sys

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from xvla_ros.bringup import CONTROL
from xvla_ros.control.drivers import Plan
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.safety import SafetyGate
from xvla_ros.msg import EndEffectorCommand
from xvla_ros.nodes.controller_following import Following
from xvla_ros.nodes.controller_pace import Pace
from xvla_ros.nodes.controller_report import BRAKING, HOLDING, MOVING, Report, STOPPED
from xvla_ros.nodes.controller_robot import farthest_m, Measured, read_targets, Robot
from xvla_ros.nodes.conversions import stamp_to_ns
from xvla_ros.nodes.deadman import Deadman
from xvla_ros.nodes.parameters import read_embodiment
from xvla_ros.nodes.running import run

TARGET_TOPIC = 'policy_node/target'
# After this long without a step motion begins anew, where the arms are measured; after a shorter
# hold, too, when they are farther than BEHIND_M from where they were held.
REST_S = 0.5
# Braking is over when a step is shorter than this; an arm that is then farther behind its target
# is stopped where it is instead of being left to catch up.
STOPPED_M = 1e-5
BEHIND_M = 0.02


class ControllerNode(Node):
    """Executes the targets of one embodiment. One thread does everything."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(
            'controller_node', automatically_declare_parameters_from_overrides=True, **arguments
        )
        self.embodiment = read_embodiment(self)
        self._robot = Robot(self, self.embodiment)
        self._gate = SafetyGate(self.embodiment)
        self._following = Following(self.embodiment)
        self._report = Report(self, self.embodiment.robot)
        self._estop_pressed = False
        self._released = ''  # why the deadman forbids motion
        self._braked: tuple[ArmPose, ...] | None = None
        self._seen_ns = 0  # the last time the clock was read
        control = self.embodiment.control
        self._pace = Pace(1.0 / control.rate_hz)
        self.create_subscription(EndEffectorCommand, TARGET_TOPIC, self._on_target, 1)
        self.create_subscription(Bool, control.estop_topic, self._on_estop, 10)
        self._deadman = Deadman(self, control, self._on_deadman)
        self.create_service(Trigger, '~/reset', self._on_reset)
        simulated = self.get_parameter('use_sim_time').value
        # Set back, the system's clock would halt its timers.
        clock = self.get_clock() if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / control.rate_hz, self._tick, clock=clock)

    def _now_ns(self) -> int:
        """Return the time [ns]; when it went backwards, end every motion and begin anew."""
        now_ns, seen_ns = self.get_clock().now().nanoseconds, self._seen_ns
        self._seen_ns = now_ns
        if now_ns < seen_ns:
            if self._report.state in (MOVING, BRAKING):
                self._stop(f'the clock went back by {(seen_ns - now_ns) * 1e-9:.3f} s', HOLDING)
            else:
                self._begin_anew()
        return now_ns

    def _begin_anew(self) -> None:
        """Have the next step begin at rest where the arms are measured."""
        self._gate.reset()
        self._robot.forget()
        self._pace.reset()

    def _on_target(self, message: EndEffectorCommand) -> None:
        """Execute a command, or say why not."""
        if self._report.state == STOPPED:
            return
        if message.hold:
            self._brake('the policy holds')
            return
        try:
            self._execute(message, self._now_ns())
        except ObservationError as error:
            self._report.refuse(str(error))

    def _execute(self, message: EndEffectorCommand, now_ns: int) -> None:
        if self._released:
            raise ObservationError(self._released)
        targets = read_targets(message, self.embodiment, now_ns)
        stamp_ns = stamp_to_ns(message.header.stamp)
        measured = self._robot.measure(now_ns)
        dt_s = self._step_s(stamp_ns, now_ns, measured)
        self._robot.demand(targets, measured)
        self._pace.judge(stamp_ns, now_ns)
        plans, clamped = self._step(targets, measured, dt_s)
        self._note(plans, clamped, now_ns)
        lost = self._following.check(plans, measured.poses, now_ns)
        if lost:
            self._stop(lost, STOPPED)

    def _note(self, plans: Sequence[Plan], clamped: Sequence[str], now_ns: int) -> None:
        """Take note of an executed step and of what was changed about it."""
        reasons = [*clamped, *(reason for plan in plans for reason in plan.reasons)]
        if self._report.state != MOVING:
            self._following.reset()
        self._pace.execute(now_ns)
        self._report.counts['executed'] += 1
        self._report.counts['clamped'] += bool(reasons)
        self._report.enter(MOVING, '; '.join(reasons))

    def _step(
        self, targets: Sequence[ArmPose], measured: Measured, dt_s: float
    ) -> tuple[Sequence[Plan], Sequence[str]]:
        """
        Command a step towards targets; return it and what the gate changed about it.

        :raises ObservationError: gate or drivers refuse it, and the arms braked by a step instead.
        """
        before = copy(self._gate)
        verdict = self._gate.check_step(targets, measured.poses, dt_s)
        if not (verdict.accepted and verdict.targets):
            self._brake_to(verdict.targets, measured, dt_s)
            raise ObservationError(f'limits: {verdict.message}')
        plans = self._robot.plan(verdict.targets, measured, dt_s)
        try:
            self._robot.agree(plans)
        except ObservationError:
            self._gate = before  # this step did not happen
            self._brake_to(self._gate.hold(dt_s), measured, dt_s)
            raise
        self._robot.send(plans)
        return plans, verdict.reasons

    def _brake_to(self, targets: Sequence[ArmPose] | None, now: Measured, dt_s: float) -> None:
        """Command a step of braking, if there is one, as well as each arm can."""
        if targets is not None:
            self._robot.send(self._robot.plan(targets, now, dt_s))

    def _step_s(self, stamp_ns: int, now_ns: int, measured: Measured) -> float:
        """
        Return the time that a step due at a stamp may take up [s].

        :raises ObservationError: it is not newer.
        """
        held = self._braked if self._report.state == HOLDING else None
        elsewhere = held and farthest_m(held, measured.poses) > BEHIND_M  # by hand, by a reset
        if elsewhere or self._pace.since_s(now_ns) > REST_S:
            self._begin_anew()
        elif self._report.state == MOVING:
            return self._pace.next_s(stamp_ns)
        return self._pace.first_s(now_ns)

    def _brake(self, reason: str) -> None:
        """Begin to stop within the limits."""
        if self._report.state == MOVING:
            self._report.counts['holds'] += 1
            self._braked = None
            self._report.enter(BRAKING, reason)
            self._brake_step(self._now_ns())

    def _tick(self) -> None:
        """Brake when targets stopped coming, or were all refused, for too long; go on braking."""
        now_ns = self._now_ns()
        silent_s = self._pace.silent_s(now_ns)
        if self._report.state == MOVING and silent_s > self.embodiment.control.hold_after_s:
            why = self._report.refusing or 'none came'
            self._brake(f'no target executed for {silent_s:.2f} s: {why}')
        if self._report.state == BRAKING:
            self._brake_step(now_ns)

    def _brake_step(self, now_ns: int) -> None:
        """Send one step of braking; hold when there is none or the targets have stopped."""
        if self._pace.paused(now_ns):
            self._gate.rest()
        if not (dt_s := self._pace.brake_s(now_ns)):
            return
        before, targets = self._braked, self._gate.hold(dt_s)
        self._braked = targets
        try:
            measured = self._robot.measure(now_ns)
        except ObservationError as error:
            self._begin_anew()
            self._report.enter(HOLDING, f'{self._report.reason}; stopped at once: {error}')
            return
        self._brake_to(targets, measured, dt_s)
        if targets is None or (before and farthest_m(before, targets) < STOPPED_M):
            if targets and farthest_m(targets, measured.poses) > BEHIND_M:
                self._robot.hold(measured)
                self._begin_anew()
            self._report.enter(HOLDING, self._report.reason)

    def _stop(self, reason: str, state: str) -> None:
        """Stop all arms where they are, at once."""
        self._report.counts['holds'] += 1
        self._begin_anew()
        self._robot.hold_grippers()
        try:
            self._robot.hold(self._robot.measure(self._now_ns()))
        except ObservationError as error:
            reason = f'{reason}; no last command: {error}'
        self._report.enter(state, reason)

    def _on_deadman(self, reason: str) -> None:
        """Brake when it is let go of or silent; nothing moves until it is held again."""
        self._released = reason
        if reason:
            self._brake(reason)
            if self._report.state == HOLDING:
                self._robot.hold_grippers()

    def _on_estop(self, message: Bool) -> None:
        """Latch on true."""
        self._estop_pressed = message.data
        if message.data and self._report.state != STOPPED:
            self._stop(f'e-stop on {self.embodiment.control.estop_topic}', STOPPED)

    def _on_reset(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Leave the latched stop when the button is out."""
        if self._estop_pressed:
            answer.message = f'{self.embodiment.control.estop_topic} is still true'
            return answer
        if self._report.state == STOPPED:
            self._report.enter(HOLDING, 'reset')
        answer.success = True
        return answer

    def close(self) -> None:
        """Stop the arms before going."""
        if self._report.state in (MOVING, BRAKING):
            self._stop('the controller ends', HOLDING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run(ControllerNode, 'controller_node', arguments, CONTROL)


if __name__ == '__main__':
    sys.exit(main())
