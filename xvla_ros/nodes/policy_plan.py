# SPDX-License-Identifier: Apache-2.0
"""What the worker is told of the motion that the robot is committed to. No ROS in here."""

from collections.abc import Callable
from threading import Lock

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.nodes.policy_control import PolicyControl
from xvla_ros.nodes.policy_intake import Judged
from xvla_ros.nodes.worker_link import Plan


class CommittedPlans:
    """
    Tells the plan after every chunk, where checkpoint, strategy or settings ask for it.

    A plan that nobody executes (dry run, hold, home, after a stop) is none: the arms are not on
    it. Any thread may call.
    """

    def __init__(
        self, embodiment: Embodiment, control: PolicyControl, tell: Callable[[Plan], object]
    ) -> None:
        """Remember what is asked for, whom to ask and whom to tell."""
        self._embodiment, self._control, self._tell = embodiment, control, tell
        policy = embodiment.policy
        told = policy.relative_position or policy.proprio_source in ('commanded', 'chunk_end')
        self._always = bool(told or policy.warm_start_time)
        self._lock = Lock()
        self._executed: tuple[int, Chunk | None] = (-1, None)
        self._told = False

    def judged(self, judged: Judged, epoch: int, now_ns: int) -> None:
        """Take note of a chunk of a task, and tell what will be executed now."""
        with self._lock:
            follows = self._control.follows_plan
            if judged.queued and follows:
                self._executed = (epoch, judged.chunk)
            if self._always or self._inpaint:
                self._tell(self._plan(now_ns) if follows else self._none())
                self._told = follows

    def withdraw(self) -> None:
        """Tell that there is no plan any more, if that is new; call when the state has changed."""
        with self._lock:
            if self._told and not self._control.follows_plan:
                self._executed, self._told = (-1, None), False
                self._tell(self._none())

    @property
    def _inpaint(self) -> bool:
        return self._control.queue.strategy == 'inpaint'

    def _none(self) -> Plan:
        return Plan(epoch=self._control.epoch)

    def _plan(self, now_ns: int) -> Plan:
        queue, epoch = self._control.queue, self._control.epoch
        period_s = self._embodiment.policy.anchor_period_s
        count = max(1, round(queue.remaining_s(now_ns) / period_s))
        latency_s = self._control.latency.value_s or 0.0
        return Plan(
            upcoming=queue.plan(now_ns, period_s, count),
            executed=self._executed[1] if self._executed[0] == epoch else None,
            prefix_s=latency_s + self._embodiment.control.inpaint_s if self._inpaint else 0.0,
            epoch=epoch,
        )
