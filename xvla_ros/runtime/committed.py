# SPDX-License-Identifier: Apache-2.0
"""
The motion that a robot is committed to, shared between control and inference.

The control side sends the inference side the plan that it will command. The inference side
samples this plan at the anchor times of an observation, as actions of the checkpoint.
"""

from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.spaces import make_profile, make_space
from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.curves import sampled
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.inpainting import drawn_to_plan, plan_weights
from xvla_ros.core.interpolation import Trajectory
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.intake import Judged
from xvla_ros.runtime.worker_messages import Committed


class CommittedMotion:
    """Samples a plan (`ChunkQueue.plan`) at other times. It keeps no state."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Take the checkpoint's action format from an embodiment."""
        self._policy = embodiment.policy
        self._profile, self._space = make_profile(embodiment), make_space(embodiment)

    def commanded(self, plan: Chunk | None, time_ns: int) -> tuple[ArmPose, ...] | None:
        """Return each arm's target at a time, base frame; grippers as the model gave them."""
        if plan is None:
            return None
        return self._space.arms(self._trajectory(plan).at(time_ns))

    def prefix(
        self, plan: Chunk | None, stamp_ns: int, reach_s: float, most: int
    ) -> NDArray[np.float32] | None:
        """
        Return the first anchors (d, D) of an observation: those that lie within `reach_s`.

        :param most: largest d.
        """
        if plan is None or not reach_s or not self.expressible:
            return None
        period_ns = round(self._policy.anchor_period_s * NANOSECONDS)
        reach_ns = min(round(reach_s * NANOSECONDS), plan.end_ns - stamp_ns)
        count = min(reach_ns // period_ns + 1 - self._policy.first_index, most)
        return self._anchors(plan, stamp_ns, count) if count >= 1 else None

    def kept(
        self, answer: NDArray[np.float32], plan: Committed, stamp_ns: int
    ) -> NDArray[np.floating]:
        """
        Return an answer (T, 20) that repeats the plan first and then leaves it smoothly.

        The plan's weight is 1 for `firm_s` after the stamp and falls to 0 within `fade_s`.
        """
        upcoming = plan.upcoming
        if upcoming is None or not plan.firm_s or not self.expressible:
            return answer
        period_s, count = self._policy.anchor_period_s, len(answer)
        first = self._policy.first_index
        weights = plan_weights(period_s, count, plan.firm_s, plan.fade_s, first)
        due_ns = stamp_ns + round(period_s * NANOSECONDS) * np.arange(first, first + count)
        weights[due_ns > upcoming.end_ns] = 0.0
        anchors = self._anchors(upcoming, stamp_ns, count)
        return drawn_to_plan(answer, anchors, weights, self._profile.decisions)

    def guess(self, plan: Chunk | None, stamp_ns: int, count: int) -> NDArray[np.float32] | None:
        """
        Return the plan as a whole chunk (count, 20) for an observation; its last pose is repeated.

        None when there is no plan, or when it has ended: the arms may have been moved since.
        """
        if plan is None or stamp_ns > plan.end_ns:
            return None
        return self._anchors(plan, stamp_ns, count)

    @property
    def expressible(self) -> bool:
        """Whether a plan can be written as this checkpoint's actions: absolute poses, stride 1."""
        return self._policy.anchor_stride == 1 and not self._policy.relative_position

    def _anchors(self, plan: Chunk, stamp_ns: int, count: int) -> NDArray[np.float32]:
        """Return the plan (count, D) at an observation's anchors; its last state is repeated."""
        period_s = self._policy.anchor_period_s
        period_ns = round(period_s * NANOSECONDS)
        first = self._policy.first_index
        first_ns = stamp_ns + first * period_ns
        actions = sampled(self._trajectory(plan), first_ns, period_ns, count, self._space)
        return self._profile.raw(
            Chunk(
                stamp_ns=stamp_ns,
                period_s=period_s,
                actions=actions,
                first_index=first,
                joint_counts=self._space.joint_counts,
            )
        )

    def _trajectory(self, plan: Chunk) -> Trajectory:
        return self._space.trajectory(plan)


class CommittedPlans:
    """
    Sends the plan to the inference side after every chunk, if checkpoint or settings need it.

    A plan that is not executed (dry run, hold, home, after a stop) is not sent. Any thread may
    call.
    """

    def __init__(
        self, embodiment: Embodiment, control: PolicyControl, tell: Callable[[Committed], object]
    ) -> None:
        """
        Store the parts.

        :param tell: sends one message to the inference side.
        """
        self._control, self._tell = control, tell
        self._lock = Lock()
        self._executed: tuple[int, Chunk | None] = (-1, None)
        self._told = False
        self.retune(embodiment)

    def retune(self, embodiment: Embodiment) -> None:
        """Use the settings of an embodiment from now on."""
        policy = embodiment.policy
        told = policy.relative_position or policy.proprio_source in ('commanded', 'chunk_end')
        with self._lock:
            self._embodiment = embodiment
            self._always = bool(told or policy.warm_start_time)

    def judged(self, judged: Judged, epoch: int, now_ns: int) -> None:
        """Record a judged chunk of a task, and send the plan that is executed now."""
        with self._lock:
            control, policy = self._embodiment.control, self._embodiment.policy
            inpaints = self._control.strategy == 'inpaint'
            underway = self._control.underway(now_ns, policy.anchor_period_s)
            if judged.queued and underway.upcoming:
                self._executed = (epoch, judged.chunk)
            if not (self._always or inpaints):
                return
            executed = self._executed[1] if self._executed[0] == underway.epoch else None
            told = Committed(
                upcoming=underway.upcoming,
                executed=executed if underway.upcoming else None,
                firm_s=underway.latency_s if inpaints else 0.0,
                fade_s=control.inpaint_s,
                epoch=underway.epoch,
            )
            self._tell(told)
            self._told = underway.upcoming is not None

    def withdraw(self) -> None:
        """Send that there is no plan, once after it ended; call after each change of the state."""
        with self._lock:
            if self._told and not self._control.follows_plan:
                self._executed, self._told = (-1, None), False
                self._tell(Committed(epoch=self._control.epoch))
