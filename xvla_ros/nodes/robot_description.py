# SPDX-License-Identifier: Apache-2.0
"""
Robot descriptions that come over a topic, as robot_state_publisher latches them.

An embodiment that says `urdf: topic:robot_description` gets the XML in its place as soon as a node
reads its parameters; whatever uses the embodiment then, in whichever process, has it.
"""

from collections.abc import Callable
from dataclasses import replace
import time

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.nodes.polled import Polled, take

# How long a publisher may take to start and be discovered.
PATIENCE_S = 10.0
POLL_S = 0.02


def with_descriptions(node: Node, embodiment: Embodiment) -> Embodiment:
    """
    Return the embodiment with the descriptions that are on topics; blocks until they are there.

    :raises ConfigError: none came in time, or what came is no URDF.
    """
    return filled(embodiment, lambda topic: _received(node, topic))


def filled(embodiment: Embodiment, read: Callable[[str], str]) -> Embodiment:
    """
    Return the embodiment with the text of each topic, read once, in the topic's place.

    :raises ConfigError: a text is no URDF.
    """
    topics = {arm.urdf_topic for arm in embodiment.arms.values()} - {''}
    if not topics:
        return embodiment
    texts = {topic: read(topic) for topic in sorted(topics)}
    for topic, text in texts.items():
        if '<robot' not in text:
            raise ConfigError(f"'{topic}': expected a URDF, got {text[:60]!r}")
    arms = {
        name: replace(arm, urdf=texts[arm.urdf_topic]) if arm.urdf_topic else arm
        for name, arm in embodiment.arms.items()
    }
    return replace(embodiment, arms=arms)


def _received(node: Node, topic: str) -> str:
    """Return the text that is latched on a topic."""
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
