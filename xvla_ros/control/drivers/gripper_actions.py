# SPDX-License-Identifier: Apache-2.0
"""
Grippers behind actions: sent when the opening changes, never waited for.

A Franka gripper takes about a second per command and blocks its caller (libfranka#226, #28).
"""

from typing import Any

from xvla_ros.control.drivers.driver import command_value, GripperDriver, messages, OnChange
from xvla_ros.core.settings import GripperSettings

# A grasp counts as one at any width up to fully open: what is grasped is not known beforehand.
GRASP_EPSILON_M = 0.08
# Openings above this are a move, below it a grasp with force.
GRASP_BELOW = 0.5


class ActionGripper(GripperDriver):
    """Sends goals to one or more actions without waiting for their servers or results."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        self._node = node
        self._gripper = gripper
        self._on_change = OnChange(self._command)

    def send(self, opening: float) -> None:
        """Send a goal when the opening has changed."""
        self._on_change(opening)

    def _client(self, action: Any, name: str) -> Any:
        from rclpy.action import ActionClient  # needs ROS, unlike importing this package

        return ActionClient(self._node, action, name)

    def _goal(self, client: Any, goal: Any) -> None:
        """Send a goal, or say that nobody takes it; the next change is tried again."""
        if client.server_is_ready():
            client.send_goal_async(goal)
        else:
            self._on_change.forget()
            self._node.get_logger().warning(
                f'no action server {client._action_name}: the gripper is not commanded',
                throttle_duration_sec=5.0,
            )

    def _command(self, opening: float) -> None:
        raise NotImplementedError


class GripperCommandGripper(ActionGripper):
    """control_msgs/GripperCommand: gripper_action_controller, franka_gripper/gripper_action."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        super().__init__(node, gripper)
        self._action = messages('control_msgs.action', 'ros-jazzy-control-msgs').GripperCommand
        self._server = self._client(self._action, gripper.command_topic)

    def _command(self, opening: float) -> None:
        goal = self._action.Goal()
        goal.command.position = command_value(self._gripper, opening)
        goal.command.max_effort = self._gripper.max_effort
        self._goal(self._server, goal)


class FrankaGripper(ActionGripper):
    """franka_gripper's actions below command_topic: move opens, grasp closes; widths in metres."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        super().__init__(node, gripper)
        self._actions = messages('franka_msgs.action', 'ros-jazzy-franka-msgs')
        self._move = self._client(self._actions.Move, f'{gripper.command_topic}/move')
        self._grasp = self._client(self._actions.Grasp, f'{gripper.command_topic}/grasp')

    def _command(self, opening: float) -> None:
        width, speed = command_value(self._gripper, opening), self._gripper.speed
        if opening >= GRASP_BELOW:
            self._goal(self._move, self._actions.Move.Goal(width=width, speed=speed))
            return
        goal = self._actions.Grasp.Goal(width=width, speed=speed, force=self._gripper.max_effort)
        goal.epsilon.inner = goal.epsilon.outer = GRASP_EPSILON_M
        self._goal(self._grasp, goal)
