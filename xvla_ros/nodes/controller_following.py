# SPDX-License-Identifier: Apache-2.0
"""Whether the arms go where they are told: a blocked or deaf one must not catch up later."""

from collections import deque
from collections.abc import Sequence
import math

from xvla_ros.control.drivers import Plan
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.motion import norm, quaternion_of
from xvla_ros.core.quaternions import difference

# An arm must be off for this long: a wrong sample is no fault, nor is swinging wide in a turn.
GLITCH_S = 0.2


class Following:
    """
    Compares every arm with where its targets led it lately, during one motion. No ROS in here.

    An arm lags behind its targets, the farther the faster it goes, but along their path: it is
    near one of those of the last `limits.following_lag_s`, however fast they went. What a driver
    says it cannot reach is not expected of the arm.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        limits = embodiment.limits
        self._arms = tuple(embodiment.arms.items())
        self._most_m = limits.max_following_error_m or math.inf
        self._most_rad = limits.max_following_error_rad or math.inf
        self._lag_ns = round(limits.following_lag_s * NANOSECONDS)
        self.reset()

    def reset(self) -> None:
        """Forget the motion."""
        self._recent: deque[tuple[int, tuple[ArmPose, ...]]] = deque()
        self._near_ns = [0] * len(self._arms)  # when each arm was last where it should be

    def check(self, plans: Sequence[Plan], measured: Sequence[ArmPose], now_ns: int) -> str:
        """Return which arm does not follow its plans, by how much; empty when all do."""
        if not self._recent:
            self._near_ns = [now_ns] * len(self._arms)
        self._recent.append((now_ns, tuple(plan.target for plan in plans)))
        while self._recent[0][0] < now_ns - self._lag_ns:
            self._recent.popleft()
        for index, (plan, pose) in enumerate(zip(plans, measured, strict=True)):
            off_m, off_rad = self._off(index, pose)
            if not plan.reachable or (off_m <= self._most_m and off_rad <= self._most_rad):
                self._near_ns[index] = now_ns
            elif now_ns - self._near_ns[index] > GLITCH_S * NANOSECONDS:
                return self._reason(index, off_m, off_rad)
        return ''

    def _off(self, index: int, pose: ArmPose) -> tuple[float, float]:
        """Return the least distance [m] and angle [rad] of an arm to its recent targets."""
        recent = [targets[index] for _, targets in self._recent]
        turned = quaternion_of(pose)
        return (
            min(norm(pose.position - target.position) for target in recent),
            min(math.hypot(*difference(turned, quaternion_of(target))) for target in recent),
        )

    def _reason(self, index: int, off_m: float, off_rad: float) -> str:
        name, arm = self._arms[index]
        return (
            f'{name} does not follow: {1000 * off_m:.0f} mm, {off_rad:.2f} rad from its targets '
            f'(limits.max_following_error_*): blocked, or deaf to {arm.command_topic}?'
        )
