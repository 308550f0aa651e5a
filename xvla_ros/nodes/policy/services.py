# SPDX-License-Identifier: Apache-2.0
"""Topics and services that control the policy: task, arm, reset, home, e-stop, deadman."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rclpy.node import Node
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import Reason, XvlaError
from xvla_ros.nodes.common.any_publisher import AnyPublisher
from xvla_ros.nodes.common.deadman import Deadman
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.control import PolicyControl

Response = TypeVar('Response', SetBool.Response, Trigger.Response)


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """Handlers of the requests; each returns a text, or raises XvlaError to refuse."""

    set_instruction: Callable[[str], None]
    go_home: Callable[[], str]
    arm: Callable[[bool], str]


class Interfaces:
    """Services and subscriptions of one active policy, all served by the executor's thread."""

    def __init__(
        self,
        node: Node,
        clock: Clock,
        embodiment: Embodiment,
        control: PolicyControl,
        requests: Requests,
    ) -> None:
        """Create them."""
        self._node, self._control, self._requests = node, control, requests
        self._now_ns = clock.now_ns
        settings = embodiment.control
        self._services = [
            node.create_service(SetBool, '~/arm', self._on_arm),
            node.create_service(Trigger, '~/reset', self._on_reset),
            node.create_service(Trigger, '~/home', self._on_home),
        ]
        self._topics = [
            AnyPublisher(node, String, 'instruction', lambda m: requests.set_instruction(m.data))
        ]
        if settings.estop_topic:
            self._topics.append(AnyPublisher(node, Bool, settings.estop_topic, self._on_estop))
        self._deadman = Deadman(node, settings, self._on_deadman)

    def close(self) -> None:
        """Destroy them."""
        for service in self._services:
            self._node.destroy_service(service)
        for topic in self._topics:
            topic.close()
        self._deadman.close()

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        return self._answer(lambda: self._requests.arm(request.data), response)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        refusal = self._control.reset(self._now_ns())
        response.success, response.message = not refusal, refusal or 'reset'
        return response

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(self._requests.go_home, response)

    def _answer(self, action: Callable[[], str], response: Response) -> Response:
        """Do the action, or answer why not."""
        try:
            response.success, response.message = True, action()
        except XvlaError as error:
            response.success, response.message = False, str(error)
        self._node.get_logger().info(response.message)
        return response

    def _on_estop(self, message: Bool) -> None:
        self._control.heed_estop(message.data, self._now_ns())

    def _on_deadman(self, reason: Reason) -> None:
        if reason:
            self._control.block('deadman', reason, self._now_ns())
        else:
            self._control.unblock('deadman')
