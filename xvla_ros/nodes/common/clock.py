# SPDX-License-Identifier: Apache-2.0
"""
The time that a node goes by: the system's, or a simulation's from /clock.

rclpy takes /clock in the executor, one message per round, while arm state here is taken from the
middleware when it is used. On a busy machine the executor is late, and a good stamp then looks as
if it came from the future. So /clock is taken the same way as the state: when somebody asks for
the time.
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
        """Follow /clock from now on when the node's parameter `use_sim_time` is true."""
        self._clock = node.get_clock()
        self.simulated = bool(node.get_parameter('use_sim_time').value)
        self._lock = threading.Lock()
        self._subscription = None
        if self.simulated:
            ignore_clock_topic(node)
            self._subscription = subscribe_polled(node, ClockMessage, CLOCK_TOPIC, depth=1)

    def now_ns(self) -> int:
        """Return the time [ns]; 0 while a simulation's clock has not been heard."""
        if self._subscription is not None:
            with self._lock:
                take(self._subscription, self._set)
        return self._clock.now().nanoseconds

    def _set(self, message: ClockMessage) -> None:
        self._clock.set_ros_time_override(Time.from_msg(message.clock))


def time_parameters(sim_time: bool) -> list[Parameter]:
    """Return the parameter overrides of a node that goes by /clock, or by the system's clock."""
    return [Parameter('use_sim_time', value=sim_time)]


def ignore_clock_topic(node: Node) -> None:
    """Have the executor leave /clock alone: somebody else sets the node's clock."""
    for subscription in tuple(node.subscriptions):
        if subscription.topic_name == CLOCK_TOPIC:
            node.destroy_subscription(subscription)


def steady_clock() -> Clock:
    """
    Return a clock for timers.

    A node's own timers stand still with a simulation that stands still, and on the system's clock
    when that is set back; what looks after a robot must go on.
    """
    return Clock(clock_type=ClockType.STEADY_TIME)
