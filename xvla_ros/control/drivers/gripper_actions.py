# SPDX-License-Identifier: Apache-2.0
"""
Grippers with an action interface: goals are sent when the opening changes, without blocking.

A Franka gripper takes about a second per command and blocks its caller (libfranka#226, #28).
"""

from typing import Any

from xvla_ros.control.drivers.action_goal import ActionGoal
from xvla_ros.control.drivers.driver import command_value, GripperDriver, messages, OnChange
from xvla_ros.core.settings import GripperSettings

# Not in Jazzy's apt index (ros/rosdistro 8468e88).
FRANKA_PACKAGE = 'from source: build franka_msgs of franka_ros2 in your workspace'
# A grasp succeeds at any width up to fully open, because the size of the object is unknown.
GRASP_EPSILON_M = 0.08
# Openings above this are sent as a move, those below as a grasp with force.
GRASP_BELOW = 0.5


class ActionGripper(GripperDriver):
    """
    Sends one goal at a time without blocking, and cancels the running goal before a new one.

    franka_gripper runs all goals at the same time, each in its own thread on one connection
    (gripper_action_server.cpp), so a move sent during a grasp would race with it.
    """

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        self._node = node
        self._gripper = gripper
        self._on_change = OnChange(self._command)
        self._running: ActionGoal | None = None
        self._next: tuple[Any, Any] | None = None  # client and goal

    def send(self, opening: float) -> None:
        """Send a goal when the opening has changed."""
        self._on_change(opening)
        self._proceed()

    def hold(self) -> None:
        """
        Drop the goal that waits for the end of the running one.

        The sent goal stays the last command, because a second grasp in a row hangs (libfranka#93).
        """
        if self._next is not None:
            self._next = None
            self._on_change.forget()

    def _command(self, opening: float) -> None:
        """Request the goal for an opening."""
        raise NotImplementedError

    def _client(self, action: Any, name: str) -> Any:
        from rclpy.action import ActionClient  # needs ROS, unlike importing this package

        return ActionClient(self._node, action, name)

    def _request(self, client: Any, goal: Any) -> None:
        """Send a goal as soon as no other runs; it replaces a waiting one."""
        self._next = client, goal

    def _proceed(self) -> None:
        """Send the waiting goal, or cancel the running one first."""
        if self._next is None:
            return
        if self._running and not self._running.lost:
            self._running.cancel()
            return
        (client, goal), self._next = self._next, None
        if client.server_is_ready():
            self._running = ActionGoal(client, goal, self._on_end)
        else:
            self._on_change.forget()
            self._warn(f'no action server {client._action_name}: the gripper is not commanded')

    def _on_end(self, goal: ActionGoal, trouble: str) -> None:
        """Log an error, repeat a goal that was not accepted, and send the waiting goal."""
        if goal is not self._running:
            return
        self._running = None
        if trouble:
            self._warn(f'{goal.name}: {trouble}')
        if not goal.accepted:
            self._on_change.forget()
        self._proceed()

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)


class GripperCommandGripper(ActionGripper):
    """
    control_msgs/GripperCommand: gripper_action_controller, franka_gripper/gripper_action.

    franka_gripper takes half the width, the position of one finger.
    """

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        super().__init__(node, gripper)
        self._action = messages('control_msgs.action', 'ros-jazzy-control-msgs').GripperCommand
        self._server = self._client(self._action, gripper.command_topic)

    def _command(self, opening: float) -> None:
        goal = self._action.Goal()
        goal.command.position = command_value(self._gripper, opening)
        goal.command.max_effort = self._gripper.max_effort
        self._request(self._server, goal)


class ParallelGripperCommandGripper(ActionGripper):
    """
    control_msgs/ParallelGripperCommand with one joint: parallel_gripper_action_controller.

    That controller serves `~/gripper_cmd` and refuses more than one position. It uses speed and
    effort only where its settings name interfaces for them.
    """

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        super().__init__(node, gripper)
        actions = messages('control_msgs.action', 'ros-jazzy-control-msgs')
        self._action = actions.ParallelGripperCommand
        self._server = self._client(self._action, gripper.command_topic)

    def _command(self, opening: float) -> None:
        goal = self._action.Goal()
        goal.command.name = [self._gripper.joint_names[0]]
        goal.command.position = [command_value(self._gripper, opening)]
        goal.command.velocity = [self._gripper.speed]
        goal.command.effort = [self._gripper.max_effort]
        self._request(self._server, goal)


class FrankaGripper(ActionGripper):
    """franka_gripper's actions below command_topic: move opens, grasp closes; widths in metres."""

    def __init__(self, node: Any, gripper: GripperSettings) -> None:
        super().__init__(node, gripper)
        self._actions = messages('franka_msgs.action', FRANKA_PACKAGE)
        self._move = self._client(self._actions.Move, f'{gripper.command_topic}/move')
        self._grasp = self._client(self._actions.Grasp, f'{gripper.command_topic}/grasp')

    def send(self, opening: float) -> None:
        """Send every grasp as opening 0: a second grasp in a row hangs (libfranka#93)."""
        super().send(0.0 if opening < GRASP_BELOW else opening)

    def _command(self, opening: float) -> None:
        width, speed = command_value(self._gripper, opening), self._gripper.speed
        if opening >= GRASP_BELOW:
            self._request(self._move, self._actions.Move.Goal(width=width, speed=speed))
            return
        goal = self._actions.Grasp.Goal(width=width, speed=speed, force=self._gripper.max_effort)
        goal.epsilon.inner = goal.epsilon.outer = GRASP_EPSILON_M
        self._request(self._grasp, goal)
