# SPDX-License-Identifier: Apache-2.0
"""
controller_node: executes targets through the robot's driver, within its limits.

A target that is old, from the future, malformed, out of limits or that one arm cannot follow is
refused as a whole. Silence is an event: without an executed target for `control.hold_after_s` all
arms stop where they are.
"""

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from xvla_ros.core.errors import ObservationError
from xvla_ros.core.safety import SafetyGate
from xvla_ros.msg import EndEffectorCommand
from xvla_ros.nodes.controller_robot import read_targets, Robot
from xvla_ros.nodes.parameters import read_embodiment
from xvla_ros.nodes.running import run

TARGET_TOPIC = 'policy_node/target'
# A step gets the time since the last one, at most this many control periods: after a gap nothing
# jumps.
MOST_PERIODS = 2.0
WAITING, MOVING, HOLDING, STOPPED = 'waiting', 'moving', 'holding', 'e-stop'


class ControllerNode(Node):
    """Executes the targets of one embodiment. One thread does everything."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(
            'controller_node', automatically_declare_parameters_from_overrides=True, **arguments
        )
        self.embodiment = read_embodiment(self)
        self._robot = Robot(self, self.embodiment)
        self._gate = SafetyGate(self.embodiment)
        self._state, self._reason = WAITING, 'no target yet'
        self._estop_pressed = False
        self._last_ns = 0
        self._counts = {'executed': 0, 'clamped': 0, 'refused': 0, 'holds': 0}
        control = self.embodiment.control
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_subscription(EndEffectorCommand, TARGET_TOPIC, self._on_target, 1)
        self.create_subscription(Bool, control.estop_topic, self._on_estop, 10)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_timer(control.hold_after_s / 4, self._watch)
        self.create_timer(1.0, self._report)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_target(self, message: EndEffectorCommand) -> None:
        """Execute a command, or say why not."""
        if self._state == STOPPED:
            return
        if message.hold:
            self._hold('the policy holds')
            return
        try:
            self._execute(message, self._now_ns())
        except ObservationError as error:
            self._refuse(str(error))

    def _execute(self, message: EndEffectorCommand, now_ns: int) -> None:
        targets = read_targets(message, self.embodiment, now_ns)
        measured = self._robot.measure(now_ns)
        dt_s = self._step_s(now_ns)
        verdict = self._gate.check_step(targets, measured.poses, dt_s)
        if not verdict.accepted:
            raise ObservationError(f'limits: {"; ".join(verdict.reasons)}')
        plans = self._robot.plan(verdict.targets, measured, dt_s)
        self._robot.send(plans)
        self._last_ns = now_ns
        reasons = [*verdict.reasons, *(reason for plan in plans for reason in plan.reasons)]
        self._counts['executed'] += 1
        self._counts['clamped'] += bool(reasons)
        self._enter(MOVING, '; '.join(reasons))

    def _step_s(self, now_ns: int) -> float:
        """Return how much time this step has [s]."""
        period_s = 1.0 / self.embodiment.control.rate_hz
        if self._state != MOVING:
            return period_s
        return min((now_ns - self._last_ns) * 1e-9, MOST_PERIODS * period_s)

    def _refuse(self, reason: str) -> None:
        """Take note of a refused command; the watchdog stops the arms if no other comes."""
        self._counts['refused'] += 1
        self.get_logger().warning(f'refused: {reason}', throttle_duration_sec=1.0)
        if self._state == MOVING:
            self._reason = f'refused: {reason}'
        else:
            self._enter(self._state, f'refused: {reason}')

    def _hold(self, reason: str, state: str = HOLDING) -> None:
        """Stop all arms where they are, once."""
        if self._state == MOVING or state == STOPPED:
            self._counts['holds'] += 1
            self._gate.reset()
            try:
                self._robot.hold(self._robot.measure(self._now_ns()))
            except ObservationError as error:
                reason = f'{reason}; commands end without a last one: {error}'
        if self._state in (MOVING, HOLDING) or state == STOPPED:
            self._enter(state, reason)

    def _watch(self) -> None:
        """Hold when targets have stopped coming, or have all been refused, for too long."""
        silent_s = (self._now_ns() - self._last_ns) * 1e-9
        if self._state == MOVING and silent_s > self.embodiment.control.hold_after_s:
            refused = self._reason if self._reason.startswith('refused') else 'none came'
            self._hold(f'no target executed for {silent_s:.2f} s: {refused}')

    def _on_estop(self, message: Bool) -> None:
        """Latch on true."""
        self._estop_pressed = message.data
        if message.data and self._state != STOPPED:
            self._hold(f'e-stop on {self.embodiment.control.estop_topic}', STOPPED)

    def _on_reset(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Leave the latched stop when the button is out."""
        if self._estop_pressed:
            answer.message = f'{self.embodiment.control.estop_topic} is still true'
            return answer
        if self._state == STOPPED:
            self._enter(HOLDING, 'reset')
        answer.success = True
        return answer

    def _enter(self, state: str, reason: str) -> None:
        """Change state, telling the log and /diagnostics when it is another one."""
        changed = state != self._state
        self._state, self._reason = state, reason
        if changed:
            self.get_logger().info(f'{state}: {reason}' if reason else state)
            self._report()

    def _report(self) -> None:
        """Publish the state on /diagnostics (REP 107)."""
        level = {STOPPED: DiagnosticStatus.ERROR, MOVING: DiagnosticStatus.OK}.get(
            self._state, DiagnosticStatus.WARN
        )
        status = DiagnosticStatus(
            level=level,
            name=f'{self.get_name()}: {self.embodiment.robot}',
            message=f'{self._state}: {self._reason}' if self._reason else self._state,
            hardware_id=self.embodiment.robot,
            values=[KeyValue(key=k, value=str(v)) for k, v in self._counts.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """Stop the arms before going."""
        if self._state == MOVING:
            self._hold('the controller ends')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run(ControllerNode, 'controller_node', arguments)
