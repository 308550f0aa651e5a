# SPDX-License-Identifier: Apache-2.0
"""
Subscriptions whose messages are taken when they are needed, not when they arrive.

An executor wakes for every message, builds its lists of everything that could be ready and makes a
Python object of what arrived: for the state of one arm a tenth of a core, for three cameras a
fifth, mostly for messages that nobody looks at. Here the middleware keeps the newest few.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from xvla_ros.core.chunk import NANOSECONDS


class Polled(CallbackGroup):
    """A group that no executor serves."""

    def can_execute(self, entity: object) -> bool:
        """Keep the executor away."""
        return False


def subscribe_polled(
    node: Node, kind: type, topic: str, store: Callable[[Any], None], depth: int
) -> Any:
    """
    Subscribe as to sensor data, newest `depth` messages kept; `take` hands them to `store`.

    A node without a middleware (a replayed bag's) calls `store` itself.
    """
    qos = QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT
    )
    return node.create_subscription(kind, topic, store, qos, callback_group=Polled())


def take(subscription: Any, store: Callable[[Any], None]) -> None:
    """Hand over what has arrived, oldest first; one thread at a time may call."""
    handle = getattr(subscription, 'handle', None)
    if handle is not None:
        while taken := handle.take_message(subscription.msg_type, False):
            store(taken[0])


def wait_for_message(node: Node, subscriptions: Sequence[Any], timeout_s: float) -> None:
    """Sleep until a message of one of the subscriptions waits to be taken, or for the timeout."""
    with ExitStack() as used:
        context = node.context.handle
        for handle in (context, *(subscription.handle for subscription in subscriptions)):
            used.enter_context(handle)
        wait_set = rclpy_implementation.WaitSet(len(subscriptions), 0, 0, 0, 0, 0, context)
        wait_set.clear_entities()
        for subscription in subscriptions:
            wait_set.add_subscription(subscription.handle)
        wait_set.wait(round(timeout_s * NANOSECONDS))
