# SPDX-License-Identifier: Apache-2.0
"""
Reads robot descriptions (URDF) from a topic, as robot_state_publisher publishes them.

When a node reads an embodiment with `urdf: topic:robot_description`, it replaces that value by the
XML of the topic. Every other process then receives the embodiment with the XML in it.
"""

import time

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.inputs.robot_description import filled
from xvla_ros.nodes.common.polled import Polled, take

# How long a publisher may take to start and to be discovered [s].
PATIENCE_S = 10.0
POLL_S = 0.02


def with_descriptions(node: Node, embodiment: Embodiment) -> Embodiment:
    """
    Return the embodiment with descriptions read from their topics; waits up to PATIENCE_S each.

    :raises ConfigError: no description came in time, or one is not a URDF.
    """
    return filled(embodiment, lambda topic: _received(node, topic))


def _received(node: Node, topic: str) -> str:
    """Return the last text published on a topic."""
    received: list[str] = []
    subscription = node.create_subscription(
        String,
        topic,
        lambda message: received.append(message.data),
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        callback_group=Polled(),
    )
    until = time.monotonic() + PATIENCE_S
    while not received and time.monotonic() < until:
        take(subscription, subscription.callback)
        time.sleep(POLL_S)
    name = subscription.topic_name
    node.destroy_subscription(subscription)
    if not received:
        raise ConfigError(
            f"no URDF on '{name}' within {PATIENCE_S:.0f} s: expected a transient local "
            'std_msgs/String, as robot_state_publisher has; is it running, under this name?'
        )
    return received[-1]
