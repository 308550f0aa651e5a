# SPDX-License-Identifier: Apache-2.0
"""Publishes the controller's condition as ControllerStatus, in /diagnostics and in the log."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from xvla_ros.msg import ControllerStatus
from xvla_ros.nodes.common.clock import steady_clock
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS
from xvla_ros.nodes.controller.condition import Condition, State
from xvla_ros.runtime.clock import Clock

LEVELS = {State.MOVING: DiagnosticStatus.OK, State.STOPPED: DiagnosticStatus.ERROR}
STATUS_PERIOD_S = 0.2
DIAGNOSTICS_PERIOD_S = 1.0  # REP 107


class Reporter:
    """Publishes the controller's condition periodically, and on every change of state."""

    def __init__(self, node: Node, robot: str, clock: Clock) -> None:
        """
        Create the publishers, and `condition`, which the controller changes.

        :param robot: name for /diagnostics. :param clock: for the stamps of the messages.
        """
        self._node, self._robot, self._clock = node, robot, clock
        self.condition = Condition(self._on_new_state)
        self._status = node.create_publisher(ControllerStatus, '~/status', CONTROLLER_STATUS_QOS)
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        node.create_timer(STATUS_PERIOD_S, self._publish_status, clock=steady_clock())
        node.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady_clock())

    def _on_new_state(self) -> None:
        self._node.get_logger().info(str(self.condition))
        self._publish_status()
        self._publish_diagnostics()

    def _publish_status(self) -> None:
        condition = self.condition
        message = ControllerStatus(
            state=int(condition.state),
            reason=condition.describe(),
            reason_code=condition.code,
            **condition.counts,
        )
        message.header.stamp = ns_to_stamp(self._clock.now_ns())
        self._status.publish(message)

    def _publish_diagnostics(self) -> None:
        condition = self.condition
        status = DiagnosticStatus(
            level=LEVELS.get(condition.state, DiagnosticStatus.WARN),
            name=f'{self._node.get_fully_qualified_name()}: {self._robot}',
            message=str(condition),
            hardware_id=self._robot,
            values=[KeyValue(key=key, value=str(n)) for key, n in condition.counts.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = ns_to_stamp(self._clock.now_ns())
        self._diagnostics.publish(message)
