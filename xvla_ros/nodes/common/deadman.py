# SPDX-License-Identifier: Apache-2.0
"""The deadman switch: policy node and controller node let the robot move only while it is held."""

from collections.abc import Callable
import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import Reason
from xvla_ros.core.settings import ControlSettings

# The switch is checked this often. A silent switch is noticed at most this long after its timeout.
PERIOD_S = 0.02
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Deadman:
    """
    Listens to `control.deadman_topic`, on the executor's thread; does nothing without a topic.

    The timeout `control.deadman_timeout_s` is measured by a steady clock, so that a simulation's
    clock or a change of the system time does not affect it.
    """

    def __init__(
        self, node: Node, settings: ControlSettings, tell: Callable[[Reason], None]
    ) -> None:
        """
        Begin as if the switch were released.

        :param tell: called at every check and message, with the reason why the robot must not
            move; none when it may.
        """
        self._node, self._topic, self._tell = node, settings.deadman_topic, tell
        self._timeout_ns = round(settings.deadman_timeout_s * NANOSECONDS)
        self._pressed_ns: int | None = None
        if self._topic:
            # Best effort hears every publisher. A lost message is followed by others or silence. A
            # late one, which a reliable subscription may deliver, would press a released switch.
            self._subscription = node.create_subscription(
                Bool, self._topic, self._on_message, NEWEST
            )
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(PERIOD_S, self._watch, clock=steady)
            self._watch()

    def close(self) -> None:
        """Stop listening."""
        if self._topic:
            self._node.destroy_subscription(self._subscription)
            self._node.destroy_timer(self._timer)

    def _on_message(self, message: Bool) -> None:
        self._pressed_ns = time.monotonic_ns() if message.data else None
        self._watch()

    def _watch(self) -> None:
        if self._pressed_ns is None:
            text = f'deadman {self._topic}: released'
            self._tell(Reason('deadman_released', text, 'deadman'))
        elif time.monotonic_ns() - self._pressed_ns > self._timeout_ns:
            silent_s = self._timeout_ns / NANOSECONDS
            text = f'deadman {self._topic}: silent for over {silent_s:g} s'
            self._tell(Reason('deadman_silent', text, 'deadman'))
        else:
            self._tell(Reason())
