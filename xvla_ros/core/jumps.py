# SPDX-License-Identifier: Apache-2.0
"""Detects jumps: a measured pose farther from the one before than an arm can move."""

from collections.abc import Sequence
import math

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import Reason
from xvla_ros.core.motion import norm, quaternion_of
from xvla_ros.core.quaternions import difference

# The highest speeds that `limits` accepts [m/s, rad/s], and the error of a measurement [m, rad].
FASTEST_M_S, FASTEST_RAD_S = 3.0, 10.0
SLACK_M, SLACK_RAD = 0.05, 0.3
# A longer time between two looks counts as this long [s]: on a busy machine a jump would else pass
# for motion that nobody looked at.
LONGEST_S = 0.05


class JumpWatch:
    """Compares each measurement of the arms with the one before. Its owner locks."""

    def __init__(self, arm_names: Sequence[str]) -> None:
        """Start without a measurement."""
        self._names = tuple(arm_names)
        self._last: tuple[int, tuple[ArmPose, ...]] | None = None

    def forget(self) -> None:
        """Accept the next measurement without a comparison."""
        self._last = None

    def look(self, measured: Sequence[ArmPose], now_ns: int) -> Reason:
        """
        Return which arm's pose has jumped, and how far; no reason if none has.

        :param measured: poses in the arms' base frames. :param now_ns: when they were read.
        """
        before, self._last = self._last, (now_ns, tuple(measured))
        if before is None or now_ns < before[0] or len(before[1]) != len(measured):
            return Reason()
        dt_s = (now_ns - before[0]) / NANOSECONDS
        moving_s = min(dt_s, LONGEST_S)
        for name, old, new in zip(self._names, before[1], measured, strict=True):
            off_m = norm(new.position - old.position)
            off_rad = math.hypot(*difference(quaternion_of(new), quaternion_of(old)))
            far = off_m > SLACK_M + FASTEST_M_S * moving_s
            if far or off_rad > SLACK_RAD + FASTEST_RAD_S * moving_s:
                text = f'arm {name}: the measured pose jumped by {off_m:.3f} m, {off_rad:.2f} rad'
                return Reason('jump', f'{text} in {dt_s:.3f} s', f'arm {name}')
        return Reason()
