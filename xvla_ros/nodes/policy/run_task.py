# SPDX-License-Identifier: Apache-2.0
"""The ~/run_task action: one instruction for a limited time."""

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.action import CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

from xvla_ros.action import RunTask
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.common.clock import steady_clock
from xvla_ros.nodes.common.conversions import duration_to_s, ns_to_duration
from xvla_ros.nodes.common.rclpy_internals import PromptServer
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.state import Snapshot

# How often a running goal checks its time and the state.
WATCH_PERIOD_S = 0.05
DEACTIVATED = 'the policy node was deactivated'


@dataclass(kw_only=True, slots=True)
class Goal:
    """The goal being followed; `ended` gets (outcome, message) once."""

    handle: ServerGoalHandle
    ended: Future
    begun_ns: int
    chunks_before: int

    def end(self, outcome: int, message: str) -> None:
        """End the goal; only the first reason counts."""
        if not self.ended.done():
            self.ended.set_result((outcome, message))


class TaskServer:
    """Serves the action on the executor's thread; `follow` starts a task, '' stops it."""

    def __init__(
        self,
        node: LifecycleNode,
        clock: Clock,
        follow: Callable[[str], None],
        status: Callable[[], Snapshot],
    ) -> None:
        """Open the action; goals are refused until `start`."""
        self._node, self._follow, self._status = node, follow, status
        self._now_ns = clock.now_ns
        self._goal: Goal | None = None
        self._active = False
        self._server = PromptServer(
            node, RunTask, '~/run_task', self._execute,
            goal_callback=self._on_goal, cancel_callback=self._on_cancel,
        )  # fmt: skip
        self._timer = node.create_timer(
            WATCH_PERIOD_S, self._watch, clock=steady_clock(), autostart=False
        )

    def start(self) -> None:
        """Accept goals from now on."""
        self._active = True

    def stop(self) -> None:
        """End the goal, inform its client at once, and refuse further goals."""
        self._active = False
        self._timer.cancel()
        goal, self._goal = self._goal, None
        if goal:
            goal.end(RunTask.Result.OUTCOME_FAULT, DEACTIVATED)
            # The executor may never get back to `_execute`.
            self._server.answer(goal.handle, self._finish(goal))

    def close(self) -> None:
        """Close the action; not right after `stop`, or the last result may be lost."""
        self._node.destroy_timer(self._timer)
        self._server.destroy()

    def end(self, outcome: int, message: str) -> None:
        """End the running goal, if there is one."""
        if self._goal:
            self._goal.end(outcome, message)

    def _on_goal(self, request: RunTask.Goal) -> GoalResponse:
        if not request.instruction.strip():
            self._node.get_logger().warning('run_task: refused a goal without an instruction')
            return GoalResponse.REJECT
        if not self._active:
            self._node.get_logger().warning('run_task: refused, the policy node is not active')
            return GoalResponse.REJECT
        if latched := self._status().latched:
            self._node.get_logger().warning(f'run_task: refused, a fault is latched: {latched}')
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        if self._goal and self._goal.handle.goal_id == handle.goal_id:
            self._follow('')  # hold now; the result follows when the goal has changed its state
            self._goal.end(RunTask.Result.OUTCOME_CANCELED, 'canceled')
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> RunTask.Result:
        """Follow one goal to its end."""
        goal = Goal(
            handle=handle, ended=Future(executor=self._node.executor),
            begun_ns=self._now_ns(), chunks_before=self._status().counters.chunks,
        )  # fmt: skip
        if handle.is_cancel_requested:
            goal.end(RunTask.Result.OUTCOME_CANCELED, 'canceled before it began')
        elif not self._active:
            goal.end(RunTask.Result.OUTCOME_FAULT, DEACTIVATED)
        else:
            self._begin(goal)
        await goal.ended
        if self._goal is goal:
            self._goal = None
            self._timer.cancel()
        return self._finish(goal)

    def _begin(self, goal: Goal) -> None:
        self.end(RunTask.Result.OUTCOME_PREEMPTED, 'a newer goal took over')
        self._follow(goal.handle.request.instruction)
        self._goal = goal
        self._timer.reset()

    def _finish(self, goal: Goal) -> RunTask.Result:
        outcome, message = goal.ended.result()
        if not goal.handle.is_active:
            pass  # `stop` has ended it
        elif goal.handle.is_cancel_requested:
            goal.handle.canceled()
        elif outcome in (RunTask.Result.OUTCOME_SUCCEEDED, RunTask.Result.OUTCOME_TIMED_OUT):
            goal.handle.succeed()
        else:
            goal.handle.abort()
        chunks = self._status().counters.chunks - goal.chunks_before
        return RunTask.Result(outcome=outcome, message=message, chunks=max(chunks, 0))

    def _watch(self) -> None:
        """End the goal when its time is over, or a fault or the controller's stop is latched."""
        goal = self._goal
        if goal is None or goal.ended.done():
            return
        timeout_s = duration_to_s(goal.handle.request.timeout)
        if latched := self._status().latched:
            self._follow('')
            goal.end(RunTask.Result.OUTCOME_FAULT, str(latched))
        elif timeout_s > 0 and self._now_ns() - goal.begun_ns >= timeout_s * NANOSECONDS:
            self._follow('')  # now: what is asked for before the executor ends the goal stays
            goal.end(RunTask.Result.OUTCOME_TIMED_OUT, f'after {timeout_s:.1f} s')

    def feedback(self, status: PolicyStatus) -> None:
        """Send a status to the goal's client."""
        if self._goal and not self._goal.ended.done():
            elapsed = ns_to_duration(max(self._now_ns() - self._goal.begun_ns, 0))
            self._goal.handle.publish_feedback(RunTask.Feedback(status=status, elapsed=elapsed))
