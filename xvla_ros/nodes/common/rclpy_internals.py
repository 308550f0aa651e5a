# SPDX-License-Identifier: Apache-2.0
"""
All uses of rclpy's private interface.

Checked with rclpy 7.1.6 (Jazzy). test/nodes/common/test_rclpy_internals.py fails if another
version lacks these parts.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.action import ActionServer
from rclpy.action.server import ServerGoalHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node


def arrived(subscription: Any) -> Iterator[tuple[Any, int]]:
    """
    Take the messages that wait in the middleware, oldest first.

    Each comes with its time of arrival [ns, system clock]; 0 if the middleware does not give it.
    """
    while taken := subscription.handle.take_message(subscription.msg_type, False):
        message, about = taken
        yield message, about['received_timestamp'] or 0


def wait_for_message(node: Node, subscriptions: Sequence[Any], timeout_ns: int) -> None:
    """Wait until one of the subscriptions has a message, or for the timeout."""
    with ExitStack() as used:
        context = node.context.handle
        for handle in (context, *(subscription.handle for subscription in subscriptions)):
            used.enter_context(handle)
        wait_set = rclpy_implementation.WaitSet(len(subscriptions), 0, 0, 0, 0, 0, context)
        wait_set.clear_entities()
        for subscription in subscriptions:
            wait_set.add_subscription(subscription.handle)
        wait_set.wait(timeout_ns)


class PromptServer(ActionServer):
    """An action server that can answer for a goal now instead of in the executor's next round."""

    def answer(self, handle: ServerGoalHandle, result: Any) -> None:
        """Send a goal's result to its client."""
        kind = self.action_type.Impl.GetResultService.Response
        response = kind(status=handle.status, result=result)
        future = self._result_futures[bytes(handle.goal_id.uuid)]
        future._set_executor(None)  # otherwise the executor would send it too late
        future.set_result(response)
