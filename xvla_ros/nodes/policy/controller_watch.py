# SPDX-License-Identifier: Apache-2.0
"""
Watches the presence and the status of the controller for the policy.

DDS discovery shows whether a controller is present. This node uses no timeout for it, because a
busy machine must not disarm a robot.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.event_handler import (
    QoSLivelinessChangedInfo,
    QoSSubscriptionMatchedInfo,
    SubscriptionEventCallbacks,
)
from rclpy.node import Node

from xvla_ros.core.errors import Reason
from xvla_ros.msg import ControllerStatus, PolicyStatus
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS, CONTROLLER_STATUS_TOPIC
from xvla_ros.runtime.state import ARMING, CONTROLLER, LISTENER

GONE = Reason('controller_gone', 'the controller is gone: start it, then arm again', ARMING)
STARTED = Reason('controller_started', 'a controller has started: arm again', ARMING)
SILENT = Reason('controller_silent', 'the controller gives no sign of life', LISTENER)
WAITING = Reason(
    'controller_waits', 'the controller has just started and waits for a hold', LISTENER
)

TWO_PUBLISHERS = Reason(
    'two_publishers', 'the controller finds more than one publisher of targets', LISTENER
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerEvents:
    """
    The callbacks of the watch, on the executor's thread.

    stopped: why the controller executes nothing until it is reset; empty when it executes again.
    came: a controller has appeared; its argument says if another one was there before.
    gone: the last controller has gone. changed: `trouble` may have changed.
    """

    stopped: Callable[[Reason], None]
    came: Callable[[bool], None]
    gone: Callable[[], None]
    changed: Callable[[], None]


class ControllerWatch:
    """Listens to the controller's status on the executor's thread."""

    def __init__(self, node: Node, events: ControllerEvents) -> None:
        """Subscribe."""
        self._node, self._events = node, events
        self._last: ControllerStatus | None = None
        self._known = False  # whether there has ever been a controller
        self._here = self._alive = False
        self.stopped = Reason()  # why the controller executes nothing until it is reset
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
    def absent(self) -> Reason:
        """Why arming is refused: the controller has gone. Empty otherwise."""
        return GONE if self._known and not self._here else Reason()

    @property
    def trouble(self) -> Reason:
        """A passing reason why targets would not be executed now; empty without one."""
        if self._here and not self._alive:
            return SILENT
        if self._last and self._last.reason_code == TWO_PUBLISHERS.code:
            return TWO_PUBLISHERS
        starting = self._last and self._last.state == ControllerStatus.STATE_WAITING
        return WAITING if self._here and starting else Reason()

    def show(self, status: PolicyStatus) -> None:
        """Fill in the controller's part of a policy's status."""
        last = self._last if self._here else None
        status.controller_state = last.state if last else PolicyStatus.CONTROLLER_UNKNOWN
        status.controller_reason = last.reason if last else self.absent.text
        status.controller_reason_code = last.reason_code if last else self.absent.code

    def _on_matched(self, info: QoSSubscriptionMatchedInfo) -> None:
        """Note changes of the number of controllers; a killed one counts until its lease ends."""
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
        """Clear the stop of a controller that has gone; the next one reports its own."""
        if self.stopped:
            self.stopped = Reason()
            self._events.stopped(self.stopped)

    def _on_status(self, message: ControllerStatus) -> None:
        self._last = message
        stops = message.state == ControllerStatus.STATE_STOPPED
        text = f'the controller has stopped: {message.reason}'
        # A controller of another version may give no code.
        reason = Reason(message.reason_code or 'controller_stopped', text, CONTROLLER)
        stopped = reason if stops else Reason()
        if stopped != self.stopped:
            self.stopped = stopped
            self._events.stopped(stopped)
        self._events.changed()
