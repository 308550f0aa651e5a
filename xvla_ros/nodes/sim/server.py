# SPDX-License-Identifier: Apache-2.0
"""The base class of the simulated driver interfaces: it stores commands and applies the newest."""

from collections import deque
from collections.abc import Mapping
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from rclpy.node import Node

from xvla_ros.core.settings import ArmSettings, GripperSettings
from xvla_ros.sim.world import World

# Commands that are kept while the simulation is late: at 100 Hz those of 10 s.
MOST_WAITING = 1000
# Commands of the motion before still arrive for a moment after a scene has begun. A server ignores
# commands until one starts where the arm is, as the first command of a new motion does, or none
# has come for QUIET_S of simulated time. It ignores them for at most MOST_DEAF_S.
QUIET_S = 0.1
MOST_DEAF_S = 1.0
# A command starts where the arm is when the tool or every joint has to move less than this. The
# first step of a motion is shorter: at 50 Hz and 4 m/s2 it is 1.6 mm.
NEAR_M = 0.002
NEAR_RAD = 0.005


class Command(NamedTuple):
    """
    A command that has arrived.

    arrived_s: by time.perf_counter. sent_ns: by the system clock.
    """

    arrived_s: float
    sent_ns: int
    message: Any


class Server:
    """Receives the commands of one arm or gripper on one topic, and applies the newest."""

    def __init__(self, node: Node, arm: str, settings: ArmSettings) -> None:
        self._node = node
        self._arm = arm
        self._settings = settings
        self._waiting: deque[Command] = deque(maxlen=MOST_WAITING)
        self._begun_ns = 0  # when the scene began, by the system clock
        self._deaf = False  # whether commands still belong to the motion before the scene
        self._scene_s = self._quiet_s = 0.0  # since the scene began, since the last command [s]

    def _listen(self, kind: type, topic: str) -> None:
        self._subscription = self._node.create_subscription(kind, topic, self._store, 1)

    def _store(self, message: Any, info: Mapping[str, int]) -> None:
        """Store a valid command with its times; drop another one and log why."""
        reason = self.objection(message)
        if not reason:
            # Not every middleware gives the time at which a message was sent.
            sent_ns = info['source_timestamp'] or time.time_ns()
            self._waiting.append(Command(time.perf_counter(), sent_ns, message))
            return
        topic = self._subscription.topic_name
        self._node.get_logger().warning(f'{topic}: dropped: {reason}', throttle_duration_sec=2.0)

    def crowd(self) -> str:
        """Return that the topic has more than one publisher; empty when it has not."""
        crowded = self._node.count_publishers(self._subscription.topic_name) > 1
        return 'more than one publisher' if crowded else ''

    def forget(self) -> None:
        """Begin a scene: ignore commands that were sent before, and the stream they belong to."""
        self._begun_ns = time.time_ns()
        self._waiting.clear()
        self._deaf, self._scene_s, self._quiet_s = True, 0.0, 0.0

    def apply(self, world: World, dt_s: float, due_s: float) -> None:
        """
        Apply the newest command, before the simulation advances by dt_s [s].

        :param due_s: when this step was due, by time.perf_counter. A command that came later waits
            for a later step. A simulation that catches up so applies each command in the same step
            as one that is on time.
        """
        newest = self._newest(due_s)
        if self._deaf and newest is not None and self.starts_here(world, newest):
            self._deaf = False
        if self._listens(newest is not None, dt_s) and newest is not None:
            self.obey(world, newest)

    def _newest(self, due_s: float) -> Any:
        """Return the newest command that came by `due_s` and was sent in this scene, or None."""
        newest = None
        while self._waiting and self._waiting[0].arrived_s <= due_s:
            command = self._waiting.popleft()
            if command.sent_ns > self._begun_ns:
                newest = command.message
        return newest

    def _listens(self, commanded: bool, dt_s: float) -> bool:
        """Tell whether commands are applied; see QUIET_S."""
        self._scene_s += dt_s
        self._quiet_s = 0.0 if commanded and self._deaf else self._quiet_s + dt_s
        if self._quiet_s >= QUIET_S or self._scene_s >= MOST_DEAF_S:
            self._deaf = False
        return not self._deaf

    def objection(self, message: Any) -> str:
        """Return why a real controller would drop this command; empty when it would not."""
        raise NotImplementedError

    def starts_here(self, world: World, message: Any) -> bool:
        """Tell whether a command starts where the arm is; a gripper's command never does."""
        return False

    def obey(self, world: World, message: Any) -> None:
        """Apply a command to the world."""
        raise NotImplementedError

    def _are_near(self, world: World, joints: ArrayLike) -> bool:
        """Tell whether joint targets (n,) [rad] are where the arm's joints are."""
        off = np.abs(np.asarray(joints) - world.joint_positions(self._arm))
        return bool((off < NEAR_RAD).all())


def opening_of(gripper: GripperSettings, command: float) -> float:
    """Return the opening, 0 closed to 1 open, of a command value in the gripper's own unit."""
    span = gripper.command_open - gripper.command_closed
    return float(np.clip((command - gripper.command_closed) / span, 0.0, 1.0))
