# SPDX-License-Identifier: Apache-2.0
"""
Subscriptions that receive from every publisher, whatever its quality of service.

A reliable subscription never receives from a best-effort publisher (micro-ROS buttons, sensor
data), a transient-local one never from a volatile publisher (`ros2 topic pub`), and a best-effort
one may lose the only message of a button. Where no message may be missed, this class subscribes
in all three ways and passes each message on once.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

DEPTH = 10
# Receives from every publisher, but may lose a message.
BEST_EFFORT = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=DEPTH)
# Receives earlier messages of reliable publishers that keep them.
LATCHED = QoSProfile(depth=DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# One of the three always fails to match a publisher, so this is no warning.
QUIET = SubscriptionEventCallbacks(use_default_callbacks=False)


class AnyPublisher:
    """Three subscriptions to one topic, served by the executor's thread."""

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None]
    ) -> None:
        """Subscribe; `callback` gets each message once."""
        self._node, self._callback = node, callback
        self._seen: deque[tuple[int, Any]] = deque(maxlen=3 * DEPTH)
        self._subscriptions = [
            node.create_subscription(
                kind, topic, lambda m, info: self._hear(m, info), qos, event_callbacks=QUIET
            )
            for qos in (BEST_EFFORT, RELIABLE, LATCHED)
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _hear(self, message: Any, info: dict[str, int]) -> None:
        """Pass a message on, unless another subscription has delivered the same one."""
        sample = info['source_timestamp'], message
        if sample[0] and sample in self._seen:  # 0: the middleware does not say when it was sent
            return
        self._seen.append(sample)
        self._callback(message)
