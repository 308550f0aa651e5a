# SPDX-License-Identifier: Apache-2.0
"""The ~/get_action_chunk service: one plan for a caller that executes plans itself."""

from collections.abc import Callable
from dataclasses import dataclass
import threading

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.msg import ActionChunk
from xvla_ros.nodes.common.clock import steady_clock
from xvla_ros.nodes.common.conversions import duration_to_s
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.state import Snapshot, State
from xvla_ros.srv import GetActionChunk

WATCH_PERIOD_S = 0.05
# Longest wait [s] of a request that names none; the full model takes 4 s on two CPU cores.
USUAL_WAIT_S = 10.0
ARMED = 'the policy is armed and executes its plans itself: disarm it first'
INACTIVE = 'the policy node is not active'
IDLE = 'no instruction is followed: name one in the request'


@dataclass(frozen=True, kw_only=True, slots=True)
class Planner:
    """An active policy: `follow` begins an instruction, `status` is its state as of now."""

    follow: Callable[[str], None]
    status: Callable[[], Snapshot]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """A request that waits: `plan` gets the chunk, or the reason why there is none."""

    plan: Future
    since_ns: int
    until_ns: int


class ChunkService:
    """
    Answers each request with the first plan of a newer observation, while disarmed.

    Made once for the whole life of the node: rclpy must be able to answer a request that waits
    while the policy is deactivated.
    """

    def __init__(self, node: Node, clock: Clock) -> None:
        """Open the service; requests are refused until `start`."""
        self._node, self._now_ns = node, clock.now_ns
        self._planner: Planner | None = None
        self._waits: list[Wait] = []
        self._lock = threading.Lock()  # plans come on the supervisor's thread
        # In the node's own group, a request that waits would keep all other callbacks waiting.
        group = ReentrantCallbackGroup()
        name = '~/get_action_chunk'
        node.create_service(GetActionChunk, name, self._on_request, callback_group=group)
        self._timer = node.create_timer(
            WATCH_PERIOD_S, self._watch, clock=steady_clock(), autostart=False
        )

    def start(self, planner: Planner) -> None:
        """Accept requests from now on."""
        self._planner = planner

    def stop(self) -> None:
        """Refuse requests from now on, and those that wait."""
        self._planner = None
        self._end(lambda wait: True, INACTIVE)

    def offer(self, chunk: ActionChunk) -> None:
        """Give a judged plan to the requests that came before its observation. Any thread."""
        stamp_ns = stamp_to_ns(chunk.header.stamp)
        self._end(lambda wait: stamp_ns >= wait.since_ns, chunk)

    async def _on_request(
        self, request: GetActionChunk.Request, response: GetActionChunk.Response
    ) -> GetActionChunk.Response:
        instruction = request.instruction.strip()
        found: ActionChunk | str = self._begin(instruction)
        if not found:
            found = await self._next(duration_to_s(request.timeout) or USUAL_WAIT_S)
        if isinstance(found, str):
            response.message = found
            return response
        response.chunk = found
        response.success = found.verdict != ActionChunk.VERDICT_REJECTED
        response.message = '' if response.success else '; '.join(found.reasons)
        return response

    def _begin(self, instruction: str) -> str:
        """Follow the instruction of a request, if it has one; return why it is refused."""
        if self._planner is None:
            return INACTIVE
        status = self._planner.status()
        if status.armed:
            return ARMED
        if instruction:
            self._planner.follow(instruction)
        elif status.state == State.IDLE:
            return IDLE
        return ''

    def _next(self, timeout_s: float) -> Future:
        """Return what gets the next plan, or why there is none."""
        now_ns = self._now_ns()
        until_ns = now_ns + round(timeout_s * NANOSECONDS)
        plan = Future(executor=self._node.executor)
        with self._lock:
            self._waits.append(Wait(plan=plan, since_ns=now_ns, until_ns=until_ns))
        self._timer.reset()
        return plan

    def _watch(self) -> None:
        """End the requests that have waited too long, and say what the policy waits for."""
        if self._planner is None or not self._waits:
            self._timer.cancel()
            return
        now_ns, why = self._now_ns(), self._planner.status().message
        text = f'no plan in time{": " * bool(why)}{why}'
        self._end(lambda wait: now_ns > wait.until_ns, text)

    def _end(self, which: Callable[[Wait], bool], result: ActionChunk | str) -> None:
        with self._lock:
            ended = [wait for wait in self._waits if which(wait)]
            self._waits = [wait for wait in self._waits if not which(wait)]
        for wait in ended:
            wait.plan.set_result(result)
