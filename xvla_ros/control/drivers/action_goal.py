# SPDX-License-Identifier: Apache-2.0
"""One action goal, from sending to its end, without blocking."""

from collections.abc import Callable
import time
from typing import Any

# How long to wait for the end of a cancelled goal. franka_ros' teleop_gripper_node waits as long
# for a stop, which libfranka cannot always do (libfranka#18, #111).
PATIENCE_S = 5.0
# Copied from action_msgs/GoalStatus, so that importing this needs no ROS.
SUCCEEDED, CANCELED = 4, 5


class ActionGoal:
    """A goal that was sent. Everything happens in the thread that spins the node."""

    def __init__(
        self, client: Any, goal: Any, on_end: Callable[['ActionGoal', str], None]
    ) -> None:
        """Send it; `on_end` is called once, with the error or an empty string."""
        self._on_end = on_end
        self._handle: Any = None
        self._cancelled_s: float | None = None
        self.name = client._action_name
        client.send_goal_async(goal).add_done_callback(self._on_answer)

    @property
    def accepted(self) -> bool:
        """Whether the server has taken the goal."""
        return self._handle is not None

    @property
    def lost(self) -> bool:
        """Whether the goal was cancelled more than PATIENCE_S ago and has not ended."""
        since_s = self._cancelled_s
        return since_s is not None and time.monotonic() - since_s > PATIENCE_S

    def cancel(self) -> None:
        """Ask once for the goal to be cancelled."""
        if self._cancelled_s is None:
            self._cancelled_s = time.monotonic()
            if self._handle:
                self._handle.cancel_goal_async()

    def _on_answer(self, answer: Any) -> None:
        handle = answer.result()
        if not handle.accepted:
            self._on_end(self, 'the goal was refused')
            return
        self._handle = handle
        handle.get_result_async().add_done_callback(self._on_result)
        if self._cancelled_s is not None:
            handle.cancel_goal_async()

    def _on_result(self, future: Any) -> None:
        status, result = future.result().status, future.result().result
        held = getattr(result, 'stalled', False)  # GripperCommand: stopped by an object
        fine = status in (SUCCEEDED, CANCELED) or held
        error = getattr(result, 'error', '')  # franka_msgs
        self._on_end(self, '' if fine else f'the goal failed: {error or f"status {status}"}')
