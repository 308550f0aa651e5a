# SPDX-License-Identifier: Apache-2.0
"""What others ask of the policy by topic and service: task, arm, reset, home, e-stop, deadman."""

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import XvlaError
from xvla_ros.nodes.deadman import Deadman
from xvla_ros.nodes.policy_control import PolicyControl

INSTRUCTION_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """What the interfaces ask for; each returns a message, or raises XvlaError to refuse."""

    set_instruction: Callable[[str], None]
    go_home: Callable[[], str]


class Interfaces:
    """Services and subscriptions of one active policy, all served by the executor's thread."""

    def __init__(
        self, node: Node, embodiment: Embodiment, control: PolicyControl, requests: Requests
    ) -> None:
        """Open them all."""
        self._node, self._control, self._requests = node, control, requests
        settings = embodiment.control
        self._services = [
            node.create_service(SetBool, '~/arm', self._on_arm),
            node.create_service(Trigger, '~/reset', self._on_reset),
            node.create_service(Trigger, '~/home', self._on_home),
        ]
        self._subscriptions = [
            node.create_subscription(
                String, 'instruction', lambda m: requests.set_instruction(m.data), INSTRUCTION_QOS
            )
        ]
        if settings.estop_topic:
            self._subscriptions.append(
                node.create_subscription(Bool, settings.estop_topic, self._on_estop, 10)
            )
        self._deadman = Deadman(node, settings, self._on_deadman)

    def close(self) -> None:
        """Close them all."""
        for service in self._services:
            self._node.destroy_service(service)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._deadman.close()

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._control.set_armed(request.data)
        response.success, response.message = True, 'armed' if request.data else 'dry run'
        self._node.get_logger().info(f'{response.message}')
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._control.estop:
            response.success, response.message = False, 'the e-stop is still pressed'
            return response
        self._control.reset(self._now_ns())
        response.success, response.message = True, 'reset'
        return response

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = True, self._requests.go_home()
        except XvlaError as error:
            response.success, response.message = False, str(error)
        return response

    def _on_estop(self, message: Bool) -> None:
        self._control.estop = message.data
        if message.data:
            self._control.fault('e-stop pressed', self._now_ns())

    def _on_deadman(self, reason: str) -> None:
        if reason:
            self._control.block('deadman', reason, self._now_ns())
        else:
            self._control.unblock('deadman')

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds
