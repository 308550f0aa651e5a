# SPDX-License-Identifier: Apache-2.0
"""
The time of a node: the system's, or a simulation's from /clock.

rclpy reads /clock in the executor, one message per round, but this package takes arm state from
the middleware when it is used. On a busy machine the executor is late, and a valid stamp then
seems to be in the future. So /clock is read in the same way as the state: when the time is needed.
"""

import threading

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage

from xvla_ros.nodes.common.polled import subscribe_polled, take

CLOCK_TOPIC = '/clock'


class NodeClock:
    """The clock of one node. Any thread may ask."""

    def __init__(self, node: Node) -> None:
        """Follow /clock from now on if the node's parameter `use_sim_time` is true."""
        self._clock = node.get_clock()
        self.simulated = bool(node.get_parameter('use_sim_time').value)
        self._lock = threading.Lock()
        self._subscription = None
        if self.simulated:
            ignore_clock_topic(node)
            self._subscription = subscribe_polled(node, ClockMessage, CLOCK_TOPIC, depth=1)

    def now_ns(self) -> int:
        """Return the time [ns]; 0 before the first message on /clock in a simulation."""
        if self._subscription is not None:
            with self._lock:
                take(self._subscription, self._set)
        return self._clock.now().nanoseconds

    def _set(self, message: ClockMessage) -> None:
        self._clock.set_ros_time_override(Time.from_msg(message.clock))


def time_parameters(sim_time: bool) -> list[Parameter]:
    """Return the parameter overrides of a node that uses /clock, or the system's clock."""
    return [Parameter('use_sim_time', value=sim_time)]


def ignore_clock_topic(node: Node) -> None:
    """Stop the executor from reading /clock, because other code sets the node's clock."""
    for subscription in tuple(node.subscriptions):
        if subscription.topic_name == CLOCK_TOPIC:
            node.destroy_subscription(subscription)


def steady_clock() -> Clock:
    """
    Return a clock for timers.

    A node's own timers stop when the simulation stops or the system's clock is set back, but
    checks of a robot must continue.
    """
    return Clock(clock_type=ClockType.STEADY_TIME)
