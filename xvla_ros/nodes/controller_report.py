# SPDX-License-Identifier: Apache-2.0
"""What the controller is doing, and what it tells the log and /diagnostics (REP 107)."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

WAITING, MOVING, BRAKING, HOLDING, STOPPED = 'waiting', 'moving', 'braking', 'holding', 'stopped'
LEVELS = {MOVING: DiagnosticStatus.OK, STOPPED: DiagnosticStatus.ERROR}


class Report:
    """The state of the controller, the reason for it, and counters; published at 1 Hz."""

    def __init__(self, node: Node, robot: str) -> None:
        self._node, self._robot = node, robot
        self.state, self.reason = WAITING, 'no target yet'
        self.counts = {'executed': 0, 'clamped': 0, 'refused': 0, 'holds': 0}
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        node.create_timer(1.0, self.publish)

    def enter(self, state: str, reason: str) -> None:
        """Change state, or the reason for it; another state is told at once."""
        changed = state != self.state
        self.state, self.reason = state, reason
        if changed:
            self._node.get_logger().info(self._text)
            self.publish()

    def refuse(self, reason: str) -> None:
        """Take note of a command that is not executed."""
        self.counts['refused'] += 1
        self.reason = f'refused: {reason}'
        self._node.get_logger().warning(self.reason, throttle_duration_sec=1.0)

    @property
    def refusing(self) -> str:
        """Why the last command was refused, or an empty string."""
        return self.reason if self.reason.startswith('refused') else ''

    def publish(self) -> None:
        """Publish one status with the counters."""
        status = DiagnosticStatus(
            level=LEVELS.get(self.state, DiagnosticStatus.WARN),
            name=f'{self._node.get_name()}: {self._robot}',
            message=self._text,
            hardware_id=self._robot,
            values=[KeyValue(key=key, value=str(value)) for key, value in self.counts.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    @property
    def _text(self) -> str:
        return f'{self.state}: {self.reason}' if self.reason else self.state
