# SPDX-License-Identifier: Apache-2.0
"""
All that is used of rclpy beyond its public interface, in one place.

Checked with rclpy 7.1.6 (Jazzy). test/nodes/common/test_rclpy_internals.py fails when another
version has these parts no more.
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

    With each comes when it arrived [ns, system clock]; 0 where the middleware does not tell.
    """
    while taken := subscription.handle.take_message(subscription.msg_type, False):
        message, about = taken
        yield message, about['received_timestamp'] or 0


def wait_for_message(node: Node, subscriptions: Sequence[Any], timeout_ns: int) -> None:
    """Sleep until a message of one of the subscriptions waits to be taken, or for the timeout."""
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
        """Send a goal's result to whoever asked for it."""
        kind = self.action_type.Impl.GetResultService.Response
        response = kind(status=handle.status, result=result)
        future = self._result_futures[bytes(handle.goal_id.uuid)]
        future._set_executor(None)  # or the executor would send it, too late
        future.set_result(response)
