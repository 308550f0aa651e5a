# SPDX-License-Identifier: Apache-2.0
"""Watches the arms during a hold. An arm that was moved gets a new target where it rests."""

from collections.abc import Sequence

from rclpy.impl.rcutils_logger import RcutilsLogger

from xvla_ros.control.hold_anchor import HoldAnchor
from xvla_ros.core.errors import ObservationError
from xvla_ros.nodes.controller.condition import State
from xvla_ros.nodes.controller.robot import Robot

# States in which the controller sends nothing by itself.
AT_REST = (State.HOLDING, State.STOPPED)


class HoldWatch:
    """Watches the arms that their own controller keeps pulling to the last target."""

    def __init__(self, robot: Robot, arm_names: Sequence[str], logger: RcutilsLogger) -> None:
        """Start without a hold."""
        self._robot, self._logger = robot, logger
        self._anchors = {
            name: (index, HoldAnchor())
            for index, name in enumerate(arm_names)
            if name in robot.pulled
        }

    def enter(self, state: State, before: State) -> None:
        """Begin to watch when a hold begins, end when a motion begins."""
        begins = state in AT_REST and state != before
        for name, (_, anchor) in self._anchors.items():
            if begins or state == State.MOVING:
                anchor.begin(self._robot.sent.get(name) if begins else None)

    def look(self, now_ns: int) -> None:
        """
        Make an arm's measured pose its target if it rests far from the last one.

        Not while its driver cannot command it, because then somebody else moves the arm.
        """
        if not self._anchors:
            return
        try:
            measured = self._robot.measure(now_ns)
        except ObservationError:
            return
        for name, (index, anchor) in self._anchors.items():
            off_m = anchor.moved_m(measured.poses[index], measured.stamps_ns[index])
            if off_m and not self._robot.trouble(name):
                self._robot.hold_arm(name, measured)
                self._logger.info(
                    f'{name} rests {1000 * off_m:.0f} mm from its last target: held there'
                )
