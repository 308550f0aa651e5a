# SPDX-License-Identifier: Apache-2.0
"""A switch that must be held, and heard, for the robot to move: policy and controller obey it."""

from collections.abc import Callable
import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.settings import ControlSettings

# The switch is looked at this often, so it is noticed this much after its timeout.
PERIOD_S = 0.02


class Deadman:
    """
    Listens to `control.deadman_topic` on the executor's thread; without a topic, to nothing.

    Silence is measured by a clock that nobody sets: neither a simulation's nor the system's.
    """

    def __init__(self, node: Node, settings: ControlSettings, tell: Callable[[str], None]) -> None:
        """
        Begin released.

        :param tell: called with why the robot must not move, empty when it may; often.
        """
        self._node, self._topic, self._tell = node, settings.deadman_topic, tell
        self._timeout_ns = round(settings.deadman_timeout_s * NANOSECONDS)
        self._pressed_ns: int | None = None
        if self._topic:
            self._subscription = node.create_subscription(Bool, self._topic, self._on_message, 1)
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
            self._tell(f'deadman {self._topic}: released')
        elif time.monotonic_ns() - self._pressed_ns > self._timeout_ns:
            self._tell(f'deadman {self._topic}: silent')
        else:
            self._tell('')
