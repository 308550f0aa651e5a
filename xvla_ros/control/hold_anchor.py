# SPDX-License-Identifier: Apache-2.0
"""
Finds when an arm that was moved during a hold has come to rest somewhere else.

An impedance controller keeps pulling an arm to the last pose it was sent. After the arm was moved
by hand, reset or restarted, that pose is far away, and the arm would return to it when released.
So it gets a new target where it rests, but only once in a hold: an arm that sags a little would
otherwise sag farther with every new measurement. A pose that leaps is no motion: the sensor may be
wrong, and its arm must not be sent there.
"""

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.motion import norm

# An arm at rest farther than this from its last target was moved: no servo error is so large.
BEHIND_M = 0.02
# An arm is at rest if it has moved by less than this distance for this time.
STILL_M = 0.002
STILL_S = 0.3
# A hand moves an arm by less than this between two looks, 20 ms apart at 50 Hz.
LEAP_M = 0.05


class HoldAnchor:
    """Watches one arm through one hold at a time."""

    def __init__(self) -> None:
        """Start without a hold."""
        self._held: ArmPose | None = None
        self._rest: tuple[int, ArmPose] | None = None
        self._last: ArmPose | None = None

    def begin(self, held: ArmPose | None) -> None:
        """Begin a hold at the last target that was sent; None if there is none."""
        self._held, self._rest, self._last = held, None, None

    def moved_m(self, measured: ArmPose, stamp_ns: int) -> float:
        """
        Return how far from its last target the arm has come to rest [m], once in a hold; else 0.

        After a leap of the pose it is 0 until the next hold.

        :param stamp_ns: time of measurement of the pose.
        """
        last, self._last = self._last, measured
        if last and norm(measured.position - last.position) > LEAP_M:
            self._held = None
        if self._held is None:
            return 0.0
        off_m = float(norm(measured.position - self._held.position))
        if off_m <= BEHIND_M:
            self._rest = None
        elif self._rest is None or norm(measured.position - self._rest[1].position) > STILL_M:
            self._rest = (stamp_ns, measured)
        elif stamp_ns - self._rest[0] >= STILL_S * NANOSECONDS:
            self.begin(None)
            return off_m
        return 0.0
