# SPDX-License-Identifier: Apache-2.0
"""The motion that a robot is committed to, as a checkpoint would have put it."""

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.curves import sampled
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.interpolation import pose_to_arm, Trajectory
from xvla_ros.core.profile import ActionProfile


class CommittedMotion:
    """Reads what will be commanded (`ChunkQueue.plan`) at other times. Stateless."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Read the checkpoint's facts from an embodiment."""
        self._policy, self._arms = embodiment.policy, len(embodiment.arm_names)
        self._profile = ActionProfile(embodiment)

    def commanded(self, plan: Chunk | None, time_ns: int) -> tuple[ArmPose, ...] | None:
        """Return the targets commanded at a time, base frame, grippers as the model gave them."""
        if plan is None:
            return None
        return tuple(pose_to_arm(pose) for pose in self._trajectory(plan).at(time_ns))

    def prefix(
        self, plan: Chunk | None, stamp_ns: int, reach_s: float, most: int
    ) -> NDArray[np.float32] | None:
        """
        Return the anchors (d, 20) of an observation that the plan has settled for `reach_s`.

        :param most: largest d.
        """
        if plan is None or not reach_s or not self.expressible:
            return None
        period_ns = round(self._policy.anchor_period_s * NANOSECONDS)
        reach_ns = min(round(reach_s * NANOSECONDS), plan.end_ns - stamp_ns)
        count = min(reach_ns // period_ns, most)
        return self._anchors(plan, stamp_ns, count) if count >= 1 else None

    def guess(self, plan: Chunk | None, stamp_ns: int, count: int) -> NDArray[np.float32] | None:
        """
        Return a whole chunk (count, 20) for an observation: the plan, its end held.

        None without a plan, or when it is over: since then the arms may have been moved.
        """
        if plan is None or stamp_ns > plan.end_ns:
            return None
        return self._anchors(plan, stamp_ns, count)

    @property
    def expressible(self) -> bool:
        """Whether a plan can be told to this checkpoint: anchor by anchor, in absolute poses."""
        return self._policy.anchor_stride == 1 and not self._policy.relative_position

    def _anchors(self, plan: Chunk, stamp_ns: int, count: int) -> NDArray[np.float32]:
        """Return the plan (count, 20) where an observation's anchors are due; its end holds."""
        period_s, layout = self._policy.anchor_period_s, self._policy.rotation_6d_layout
        period_ns = round(period_s * NANOSECONDS)
        actions = sampled(self._trajectory(plan), stamp_ns, period_ns, count, layout)
        return self._profile.raw(Chunk(stamp_ns=stamp_ns, period_s=period_s, actions=actions))

    def _trajectory(self, plan: Chunk) -> Trajectory:
        return Trajectory(plan, self._policy.rotation_6d_layout, self._arms)
