# SPDX-License-Identifier: Apache-2.0
"""
Whether a controller is there, and what it says of itself, as the policy needs it.

DDS discovery tells whether a controller is present. No timeout of this node does, because a busy
machine must not disarm a robot.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.event_handler import (
    QoSLivelinessChangedInfo,
    QoSSubscriptionMatchedInfo,
    SubscriptionEventCallbacks,
)
from rclpy.node import Node

from xvla_ros.msg import ControllerStatus, PolicyStatus
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS, CONTROLLER_STATUS_TOPIC

GONE = 'the controller is gone: start it, then arm again'
STARTED = 'a controller has started: arm again'
SILENT = 'the controller gives no sign of life'
WAITING = 'the controller has just started and waits for a hold'


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerEvents:
    """
    What the watch tells, on the executor's thread.

    stopped: why the controller executes nothing until it is reset, empty when it obeys again.
    came: a controller is there; whether it is another than one that was there before.
    gone: none is there any more. changed: `trouble` may have changed.
    """

    stopped: Callable[[str], None]
    came: Callable[[bool], None]
    gone: Callable[[], None]
    changed: Callable[[], None]


class ControllerWatch:
    """Listens to the controller's status on the executor's thread."""

    def __init__(self, node: Node, events: ControllerEvents) -> None:
        """Subscribe."""
        self._node, self._events = node, events
        self._last: ControllerStatus | None = None
        self._known = False  # whether a controller has ever been there
        self._here = self._alive = False
        self.stopped = ''  # why the controller executes nothing until it is reset
        self._subscription = node.create_subscription(
            ControllerStatus,
            CONTROLLER_STATUS_TOPIC,
            self._on_status,
            CONTROLLER_STATUS_QOS,
            event_callbacks=SubscriptionEventCallbacks(
                matched=self._on_matched, liveliness=self._on_liveliness
            ),
        )

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    @property
    def absent(self) -> str:
        """Why arming makes no sense: the controller that was there is gone. Empty otherwise."""
        return GONE if self._known and not self._here else ''

    @property
    def trouble(self) -> str:
        """Why targets would not be executed now, of what passes by itself; empty without one."""
        if self._here and not self._alive:
            return SILENT
        starting = self._last and self._last.state == ControllerStatus.STATE_WAITING
        return WAITING if self._here and starting else ''

    def show(self, status: PolicyStatus) -> None:
        """Fill in the controller's part of a policy's status."""
        last = self._last if self._here else None
        status.controller_state = last.state if last else PolicyStatus.CONTROLLER_UNKNOWN
        status.controller_reason = last.reason if last else self.absent

    def _on_matched(self, info: QoSSubscriptionMatchedInfo) -> None:
        """Note who came and went; a killed controller is counted until its DDS lease ends."""
        self._here = info.current_count > 0
        if info.total_count_change:
            another, self._known = self._known, True
            self._events.came(another)
        if not self._here:
            self._last = None
            self._obey_again()
            self._events.gone()

    def _on_liveliness(self, info: QoSLivelinessChangedInfo) -> None:
        self._alive = info.alive_count > 0
        self._events.changed()

    def _obey_again(self) -> None:
        """End a stop whose controller is gone: the next one says what holds for it."""
        if self.stopped:
            self.stopped = ''
            self._events.stopped('')

    def _on_status(self, message: ControllerStatus) -> None:
        self._last = message
        stops = message.state == ControllerStatus.STATE_STOPPED
        stopped = f'the controller has stopped: {message.reason}' if stops else ''
        if stopped != self.stopped:
            self.stopped = stopped
            self._events.stopped(stopped)
        self._events.changed()
