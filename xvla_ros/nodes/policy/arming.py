# SPDX-License-Identifier: Apache-2.0
"""
Arms and disarms the robot. Targets are sent only while a controller executes them.

Without a controller that executes targets, the policy holds. After a controller has gone or
another one has started, the robot moves only after it was armed again.
"""

from collections.abc import Callable

from rclpy.node import Node

from xvla_ros.core.errors import ConfigError, Reason
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.policy.controller_watch import (
    ControllerEvents,
    ControllerWatch,
    GONE,
    STARTED,
)
from xvla_ros.nodes.policy.publishers import PolicyOutputs
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.state import ARMING, LISTENER

UNHEARD = Reason(
    'unheard', 'nobody subscribes to policy_node/target: start controller_node', LISTENER
)


class Arming:
    """The armed state. Used from the executor's thread."""

    def __init__(
        self,
        node: Node,
        clock: Clock,
        control: PolicyControl,
        outputs: PolicyOutputs,
        stopped: Callable[[Reason], None],
        changed: Callable[[], None],
        *,
        starts_armed: bool,
    ) -> None:
        """
        Begin to watch the controller.

        :param stopped: see ControllerEvents. :param changed: called on a new reason to hold.
        :param starts_armed: whether the robot stays armed when the first controller appears.
        """
        self._node, self._clock, self._control, self._outputs = node, clock, control, outputs
        self._changed, self._starts_armed = changed, starts_armed
        self._trouble = Reason()
        self.controller = ControllerWatch(
            node,
            ControllerEvents(
                stopped=stopped,
                came=self._on_controller,
                gone=lambda: self._disarm(GONE),
                changed=self.look,
            ),
        )

    def close(self) -> None:
        """End the watch."""
        self.controller.close()

    def show(self, status: PolicyStatus) -> None:
        """Fill in the controller's part of a policy's status."""
        self.controller.show(status)

    def set(self, armed: bool) -> str:
        """
        Arm or disarm; return a text for people.

        :raises ConfigError: no controller would execute the targets.
        """
        trouble = self.controller.absent if self._outputs.heard else UNHEARD
        if armed and trouble:
            raise ConfigError(f'cannot arm: {trouble}')
        self._control.set_armed(armed)
        self.look()
        return 'armed' if armed else 'dry run'

    def look(self) -> None:
        """Hold while no controller would execute the targets."""
        trouble = self.controller.trouble if self._outputs.heard else UNHEARD
        trouble = trouble if self._control.armed else Reason()
        if trouble:
            self._control.block(LISTENER, trouble, self._clock.now_ns())
        else:
            self._control.unblock(LISTENER)
        if trouble != self._trouble:
            self._trouble = trouble
            self._changed()

    def _disarm(self, reason: Reason) -> None:
        """Disarm and hold until the robot is armed again, if it is armed."""
        if self._control.armed:
            self._control.set_armed(False)
            self._control.block(ARMING, reason, self._clock.now_ns())
            self._node.get_logger().error(reason.text)
            self._changed()
        self.look()

    def _on_controller(self, another: bool) -> None:
        """Disarm when a controller appears, unless it is the first and the robot starts armed."""
        if another or not self._starts_armed:
            self._disarm(STARTED)
