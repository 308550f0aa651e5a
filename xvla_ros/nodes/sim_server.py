# SPDX-License-Identifier: Apache-2.0
"""What all simulated driver interfaces share: callbacks store, the physics thread applies."""

from collections import deque
import time
from typing import Any

import numpy as np
from rclpy.node import Node

from xvla_ros.core.settings import ArmSettings, GripperSettings
from xvla_ros.sim.world import World

# Commands kept while physics are late: seconds of them.
MOST_WAITING = 1000


class Server:
    """Takes the commands of one arm or gripper from one topic."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        self._node = node
        self._arm = arm
        self._settings = settings
        self._waiting: deque[tuple[float, Any]] = deque(maxlen=MOST_WAITING)

    def _listen(self, kind: type, topic: str) -> None:
        self._subscription = self._node.create_subscription(kind, topic, self._store, 1)

    def _store(self, message: Any) -> None:
        """Keep a usable command with its arrival; say once in a while why others are dropped."""
        reason = self.objection(message)
        if not reason:
            self._waiting.append((time.perf_counter(), message))
            return
        topic = self._subscription.topic_name
        self._node.get_logger().warning(f'{topic}: dropped: {reason}', throttle_duration_sec=2.0)

    def forget(self) -> None:
        """Drop what is not applied yet: the scene begins anew."""
        self._waiting.clear()

    def apply(self, world: World, dt_s: float, due_s: float) -> None:
        """
        Apply the newest command, before the physics advance by dt_s.

        :param due_s: when this step was due on time.perf_counter. What came later is for a later
            step: physics that catch up meet each command when a punctual robot would have.
        """
        message = None
        while self._waiting and self._waiting[0][0] <= due_s:
            message = self._waiting.popleft()[1]
        if message is not None:
            self.obey(world, message)

    def objection(self, message: Any) -> str:
        """Return why a real controller would drop this message, or an empty string."""
        raise NotImplementedError

    def obey(self, world: World, message: Any) -> None:
        """Do what the message says."""
        raise NotImplementedError


def opening_of(gripper: GripperSettings, command: float) -> float:
    """Return the opening, 0 closed to 1 open, that a command value means."""
    span = gripper.command_open - gripper.command_closed
    return float(np.clip((command - gripper.command_closed) / span, 0.0, 1.0))
