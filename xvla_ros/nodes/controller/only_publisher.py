# SPDX-License-Identifier: Apache-2.0
"""Accepts targets from one publisher only, because those of two would alternate."""

from collections.abc import Callable

from rclpy.event_handler import QoSSubscriptionMatchedInfo, SubscriptionEventCallbacks
from rclpy.node import Node

from xvla_ros.core.errors import Reason
from xvla_ros.msg import EndEffectorCommand
from xvla_ros.nodes.common.links import TARGET_TOPIC
from xvla_ros.nodes.controller.condition import Condition, State

ONE_AGAIN = Reason('one_publisher', 'the targets have one publisher again')


class OnlyPublisher:
    """
    Subscribes to the targets; `reason` is set while they have more than one publisher.

    DDS reports a second publisher before its first message can arrive. A killed publisher counts
    until its DDS lease ends.
    """

    def __init__(
        self,
        node: Node,
        on_target: Callable[[EndEffectorCommand], None],
        brake: Callable[[Reason], None],
        condition: Condition,
    ) -> None:
        """
        Subscribe. All callbacks run on the executor's thread.

        :param brake: called with the reason when a second publisher appears.
        """
        self._brake, self._condition = brake, condition
        self.reason = Reason()
        callbacks = SubscriptionEventCallbacks(matched=self._on_matched)
        node.create_subscription(
            EndEffectorCommand, TARGET_TOPIC, on_target, 1, event_callbacks=callbacks
        )

    def _on_matched(self, info: QoSSubscriptionMatchedInfo) -> None:
        before, count = self.reason, info.current_count
        text = f'{count} publishers on {TARGET_TOPIC}, expected one'
        self.reason = Reason('two_publishers', text) if count > 1 else Reason()
        if self.reason:
            self._brake(self.reason)
        elif before and self._condition.state == State.HOLDING:
            self._condition.enter(State.HOLDING, ONE_AGAIN)
