# SPDX-License-Identifier: Apache-2.0
"""
controller_node: executes targets through the robot's driver, within the limits.

The first command must be a hold. A command is refused for all arms when a target is old, from the
future, malformed or outside the limits, or when one arm cannot follow. All arms brake and hold
after `control.hold_after_s` without an executed target, and while the deadman switch is not held.
After an emergency stop, or when an arm does not follow, they stay stopped until ~/reset.
"""

from collections.abc import Sequence
import sys

from rclpy.node import Node
from std_srvs.srv import Trigger

from xvla_ros.bringup import CONTROL
from xvla_ros.control.drivers import ArmStep
from xvla_ros.control.following import Following
from xvla_ros.control.rest import at_rest
from xvla_ros.control.spaces import make_space
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError, Reason, reason_of
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.msg import EndEffectorCommand
from xvla_ros.nodes.common.clock import NodeClock, steady_clock
from xvla_ros.nodes.common.parameters import read_embodiment
from xvla_ros.nodes.common.running import run
from xvla_ros.nodes.controller.condition import also, ENDS, HOLDS, RESET, silence, State
from xvla_ros.nodes.controller.diagnostics import Reporter
from xvla_ros.nodes.controller.hold_watch import AT_REST, HoldWatch
from xvla_ros.nodes.controller.only_publisher import OnlyPublisher
from xvla_ros.nodes.controller.robot import check_arrived, Measured, Robot
from xvla_ros.nodes.controller.stepper import Stepper
from xvla_ros.nodes.controller.stop_inputs import StopInputs
from xvla_ros.nodes.controller.targets import read_ahead, read_targets

# If no step was sent for this long, the next motion begins at the measured poses.
REST_S = 0.5


class ControllerNode(Node):
    """Executes the targets of one embodiment. All its methods run on the executor's thread."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(
            'controller_node', automatically_declare_parameters_from_overrides=True, **arguments
        )
        self.embodiment = read_embodiment(self)
        self._robot = Robot(self, self.embodiment)
        self._stepper = Stepper(self.embodiment, self._robot)
        self._space = make_space(self.embodiment)
        self._following = Following(self.embodiment)
        self._time = NodeClock(self)
        self._reporter = Reporter(self, self.embodiment.robot, self._time)
        self._condition = self._reporter.condition
        self._hold_watch = HoldWatch(self._robot, self.embodiment.arm_names, self.get_logger())
        self._braked: tuple[ArmPose, ...] | None = None  # targets of the last braking step
        self._seen_ns = 0  # time of the last reading of the clock
        control = self.embodiment.control
        self._targets = OnlyPublisher(self, self._on_target, self._brake, self._condition)
        self._stop_inputs = StopInputs(self, control, self._on_estop, self._on_deadman)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_timer(1.0 / control.rate_hz, self._tick, clock=steady_clock())

    def _now_ns(self) -> int:
        """Return the time [ns]. When it has gone backwards, stop the arms or reset the motion."""
        now_ns, seen_ns = self._time.now_ns(), self._seen_ns
        self._seen_ns = now_ns
        if now_ns < seen_ns:
            if self._condition.state in (State.MOVING, State.BRAKING):
                text = f'the clock went back by {(seen_ns - now_ns) * 1e-9:.3f} s'
                self._stop(Reason('clock_back', text), State.HOLDING)
            else:
                self._stepper.begin_anew()
        return now_ns

    def _on_target(self, message: EndEffectorCommand) -> None:
        """Execute a command, or refuse it and log the reason."""
        if self._condition.state == State.STOPPED:
            return
        if message.hold:
            self._condition.begin()
            self._brake(HOLDS)
            return
        try:
            self._execute(message, self._now_ns())
        except ObservationError as error:
            self._condition.refuse(reason_of(error))
            self.get_logger().warning(f'refused: {error}', throttle_duration_sec=1.0)
            if self._stepper.hands_over and self._condition.state == State.MOVING:
                self._brake_step(self._seen_ns)  # else the arms go on along their path

    def _execute(self, message: EndEffectorCommand, now_ns: int) -> None:
        if reason := self._condition.closed or self._stop_inputs.released or self._targets.reason:
            raise ObservationError(reason.text, code=reason.code)
        targets = read_targets(message, self.embodiment, self._space, now_ns)
        stamp_ns = stamp_to_ns(message.header.stamp)
        measured = self._robot.measure(now_ns)
        self._stepper.catch_up(now_ns)
        dt_s = self._step_s(stamp_ns, now_ns, measured)
        self._robot.demand(targets, measured)
        self._stepper.pace.judge(stamp_ns, now_ns)
        ahead = read_ahead(message, targets)
        plans, clamped = self._stepper.step(targets, ahead, measured, dt_s, now_ns)
        self._note(plans, clamped, now_ns)
        if lost := self._following.check(plans, measured.poses, measured.stamps_ns, now_ns):
            self._stop(lost, State.STOPPED)

    def _note(self, plans: Sequence[ArmStep], clamped: Sequence[str], now_ns: int) -> None:
        """Count an executed step, and enter MOVING with the reasons for a changed target."""
        reasons = [*clamped, *(reason for plan in plans for reason in plan.reasons)]
        if self._condition.state != State.MOVING:
            self._following.reset()
            self._robot.trust()
        self._stepper.pace.execute(now_ns)
        self._condition.counts['executed'] += 1
        self._condition.counts['clamped'] += bool(reasons)
        self._enter(State.MOVING, Reason('changed' if reasons else '', '; '.join(reasons)))

    def _step_s(self, stamp_ns: int, now_ns: int, measured: Measured) -> float:
        """
        Return the duration of the step to a target with this stamp [s].

        :raises ObservationError: the target is not newer than the last one, or an arm is not
            where it should hold.
        """
        held = self._braked if self._condition.state == State.HOLDING else None
        if self._stepper.pace.since_s(now_ns) > REST_S:
            self._stepper.begin_anew()
        elif held:
            check_arrived(held, measured.poses)
        elif self._condition.state == State.MOVING:
            return self._stepper.pace.next_s(stamp_ns)
        return self._stepper.pace.first_s(now_ns)

    def _brake(self, reason: Reason) -> None:
        """If the arms move, begin to brake within the limits."""
        if self._condition.state == State.MOVING:
            self._condition.counts['holds'] += 1
            self._braked = None
            self._enter(State.BRAKING, reason)
            self._brake_step(self._now_ns())

    def _tick(self) -> None:
        """Brake if no target was executed for too long; continue braking; watch a hold."""
        now_ns = self._now_ns()
        silent_s = self._stepper.pace.silent_s(now_ns)
        moving = self._condition.state == State.MOVING
        if moving and silent_s > self.embodiment.control.hold_after_s:
            self._brake(silence(silent_s, self._condition.refusal))
        if self._condition.state == State.BRAKING:
            self._brake_step(now_ns)
        if self._condition.state in AT_REST:
            self._hold_watch.look(now_ns)

    def _enter(self, state: State, reason: Reason) -> None:
        """Change the state; a hold begins at the last targets of the arms."""
        self._hold_watch.enter(state, self._condition.state)
        self._condition.enter(state, reason)

    def _brake_step(self, now_ns: int) -> None:
        """Send one braking step; enter HOLDING if there is none or the targets have stopped."""
        dt_s, targets = self._stepper.braking(now_ns)
        if not dt_s:
            return
        before, measured = self._braked, None
        self._braked = targets
        try:
            measured = self._robot.measure(now_ns)
        except ObservationError as error:
            if not self._stepper.hands_over:
                self._stepper.begin_anew()
                text = f'stopped at once: {error}'
                self._enter(State.HOLDING, also(self._condition.reason, text))
                return
        self._stepper.brake(targets, measured, dt_s, now_ns)
        if self._condition.state == State.BRAKING and (
            targets is None or (before and at_rest(before, targets))
        ):
            self._enter(State.HOLDING, self._condition.reason)

    def _stop(self, reason: Reason, state: State) -> None:
        """Stop all arms at once, at their measured poses."""
        self._condition.counts['holds'] += 1
        self._robot.hold_grippers()
        try:
            self._robot.hold(self._robot.measure(self._now_ns()))
        except ObservationError as error:
            reason = also(reason, f'{self._stepper.stop_unmeasured(self._seen_ns)}: {error}')
        self._stepper.begin_anew()
        self._enter(state, reason)

    def _on_deadman(self, reason: Reason) -> None:
        """Brake if the switch is released or silent; refuse targets until it is held again."""
        if reason:
            self._brake(reason)
            if self._condition.state == State.HOLDING:
                self._robot.hold_grippers()

    def _on_estop(self, reason: Reason) -> None:
        """Stop the arms until ~/reset, even if the e-stop is released before."""
        if self._condition.state != State.STOPPED:
            self._stop(reason, State.STOPPED)

    def _on_reset(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Leave a latched stop, unless the e-stop is still pressed."""
        answer.message = self._stop_inputs.pressed
        answer.success = not answer.message
        if answer.success and self._condition.state == State.STOPPED:
            self._enter(State.HOLDING, RESET)
        return answer

    def close(self) -> None:
        """Stop the arms before the node ends."""
        if self._condition.state in (State.MOVING, State.BRAKING):
            self._stop(ENDS, State.HOLDING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until a signal or a shutdown; return the exit code."""
    return run(ControllerNode, 'controller_node', arguments, CONTROL)


if __name__ == '__main__':
    sys.exit(main())
