# SPDX-License-Identifier: Apache-2.0
"""The topics with which people stop the arms: e-stop and deadman switch."""

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Bool

from xvla_ros.core.errors import Reason
from xvla_ros.core.settings import ControlSettings
from xvla_ros.nodes.common.any_publisher import AnyPublisher
from xvla_ros.nodes.common.deadman import Deadman


class StopInputs:
    """Subscribes to e-stop and deadman switch, stores their states and reports each change."""

    def __init__(
        self,
        node: Node,
        control: ControlSettings,
        on_estop: Callable[[Reason], None],
        on_deadman: Callable[[Reason], None],
    ) -> None:
        """
        Subscribe to the topics that the settings name.

        :param on_estop: called with the reason whenever the e-stop is pressed.
        :param on_deadman: called with the reason why the deadman switch forbids motion; empty if
            it allows motion.
        """
        self._topic, self._on_estop, self._on_deadman = control.estop_topic, on_estop, on_deadman
        self._pressed = False
        self.released = Reason()  # why the deadman switch forbids motion; empty if it allows it
        if control.estop_topic:
            self._estop = AnyPublisher(node, Bool, control.estop_topic, self._hear_estop)
        self._deadman = Deadman(node, control, self._hear_deadman)

    @property
    def pressed(self) -> str:
        """Why a latched stop must stay; empty when the e-stop is released."""
        return f'{self._topic} is still true; release it' if self._pressed else ''

    def _hear_estop(self, message: Bool) -> None:
        self._pressed = message.data
        if message.data:
            self._on_estop(Reason('estop', f'e-stop on {self._topic}'))

    def _hear_deadman(self, reason: Reason) -> None:
        self.released = reason
        self._on_deadman(reason)
