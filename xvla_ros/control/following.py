# SPDX-License-Identifier: Apache-2.0
"""Checks that the arms follow their targets. A blocked arm must not catch up later."""

from collections import deque
from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.drivers import ArmStep
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.motion import norm, quaternion_of
from xvla_ros.core.quaternions import difference

# An arm must be off for this long, so that one wrong sample or a wide turn is no fault.
GLITCH_S = 0.2
# A pose that stays equal to the last bit for this long [s] and this much of its targets' path [m]
# is taken as old.
FROZEN_M, FROZEN_S = 0.03, 1.0


class FrozenPose:
    """Measures how far the targets of one arm moved while its measured pose stayed identical."""

    def __init__(self) -> None:
        """Start without a pose."""
        self._pose = b''
        self._target: NDArray[np.float64] | None = None
        self._since_ns, self._path_m = 0, 0.0

    def moved_m(self, pose: ArmPose, plan: ArmStep, stamp_ns: int) -> float:
        """Add a measured pose; return the targets' path since the pose last changed [m]."""
        seen = pose.position.tobytes() + pose.quaternion.tobytes()
        target, self._target = self._target, plan.target.position
        if seen != self._pose or target is None or not plan.reachable:
            self._pose, self._since_ns, self._path_m = seen, stamp_ns, 0.0
        else:
            self._path_m += norm(plan.target.position - target)
        return self._path_m

    def since_s(self, stamp_ns: int) -> float:
        """Return how long the pose has been the same [s]."""
        return (stamp_ns - self._since_ns) / NANOSECONDS


class Following:
    """
    Compares every arm with its recent targets, during one motion.

    An arm lags behind its targets, more so at higher speed, but stays on their path: it is near
    one of the targets of the last `limits.following_lag_s`. A measurement is compared with the
    targets that had been sent when it was taken, so a late one on a busy machine is no fault.
    Targets that the driver reports as out of reach are ignored.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Read the limits of the embodiment."""
        limits = embodiment.limits
        self._arms = tuple(embodiment.arms.items())
        self._most_m = limits.max_following_error_m or math.inf
        self._most_rad = limits.max_following_error_rad or math.inf
        self._lag_ns = round(limits.following_lag_s * NANOSECONDS)
        self.reset()

    def reset(self) -> None:
        """Forget the motion."""
        self._sent: deque[tuple[int, tuple[ArmPose, ...]]] = deque()
        self._near_ns: list[int | None] = [None] * len(self._arms)  # stamp of the last good pose
        self._frozen = [FrozenPose() for _ in self._arms]

    def check(
        self,
        plans: Sequence[ArmStep],
        measured: Sequence[ArmPose],
        stamps_ns: Sequence[int],
        now_ns: int,
    ) -> Reason:
        """
        Return which arm does not follow its plans, by how much; no reason when all do.

        :param plans: the current command of every arm. :param measured: the arms' poses.
        :param stamps_ns: time of measurement of each pose, on the clock of `now_ns`.
        """
        self._sent.append((now_ns, tuple(plan.target for plan in plans)))
        self._drop_before(min(stamps_ns) - self._lag_ns)
        for index, (plan, pose, stamp_ns) in enumerate(
            zip(plans, measured, stamps_ns, strict=True)
        ):
            off_m, off_rad = self._off(index, pose, stamp_ns)
            near_ns = self._near_ns[index]
            followed = off_m <= self._most_m and off_rad <= self._most_rad
            if near_ns is None or followed or not plan.reachable:
                self._near_ns[index] = stamp_ns
            elif stamp_ns - near_ns > GLITCH_S * NANOSECONDS:
                return self._reason(index, off_m, off_rad)
            moved_m = self._frozen[index].moved_m(pose, plan, stamp_ns)
            same_s = self._frozen[index].since_s(stamp_ns)
            if moved_m > FROZEN_M and same_s > FROZEN_S and math.isfinite(self._most_m):
                return self._frozen_reason(index, moved_m)
        return Reason()

    def _drop_before(self, oldest_ns: int) -> None:
        """Drop the targets that were replaced before a time."""
        while len(self._sent) > 1 and self._sent[1][0] <= oldest_ns:
            self._sent.popleft()

    def _off(self, index: int, pose: ArmPose, stamp_ns: int) -> tuple[float, float]:
        """
        Return the least distance [m] and angle [rad] of an arm to its targets at that time.

        0 for a pose measured before the motion began.
        """
        recent = [
            targets[index]
            for sent_ns, targets in self._sent
            if stamp_ns - self._lag_ns <= sent_ns <= stamp_ns
        ]
        if not recent:
            recent = [targets[index] for sent_ns, targets in self._sent if sent_ns <= stamp_ns][
                -1:
            ]
        if not recent:
            return 0.0, 0.0
        turned = quaternion_of(pose)
        return (
            min(norm(pose.position - target.position) for target in recent),
            min(math.hypot(*difference(turned, quaternion_of(target))) for target in recent),
        )

    def _frozen_reason(self, index: int, moved_m: float) -> Reason:
        name, _ = self._arms[index]
        return Reason(
            'pose_frozen',
            f'{name} does not follow: its measured pose has not changed at all while its targets '
            f'moved {1000 * moved_m:.0f} mm: blocked, or does its driver repeat an old pose?',
            f'arm {name}',
        )

    def _reason(self, index: int, off_m: float, off_rad: float) -> Reason:
        name, arm = self._arms[index]
        text = (
            f'{name} does not follow: {1000 * off_m:.0f} mm, {off_rad:.2f} rad from its targets '
            f'(limits.max_following_error_*): blocked, or deaf to {arm.command_topic}?'
        )
        return Reason('not_following', text, f'arm {name}')
