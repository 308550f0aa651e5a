# SPDX-License-Identifier: Apache-2.0
"""
The one moment of a hold at which an arm that somebody moved has come to rest elsewhere.

A controller that follows poses (an impedance controller) goes on pulling an arm to the last pose
it was sent. After a hand-guided move, a reset or a restart that pose is far away, and the arm
would go back to it when it is let go. So the arm is held anew where it rests: once in a hold,
because an arm that sags a little would sag on with every new measurement.
"""

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.motion import norm

# An arm farther than this from its last target was moved by somebody: no servo lags so at rest.
BEHIND_M = 0.02
# An arm rests when it has moved by less than this for so long.
STILL_M = 0.002
STILL_S = 0.3


class HoldAnchor:
    """Watches one arm through one hold at a time."""

    def __init__(self) -> None:
        """Watch nothing until `begin`."""
        self._held: ArmPose | None = None
        self._rest: tuple[int, ArmPose] | None = None

    def begin(self, held: ArmPose | None) -> None:
        """Begin a hold at the last target that was sent; None when there is none."""
        self._held, self._rest = held, None

    def moved_m(self, measured: ArmPose, stamp_ns: int) -> float:
        """
        Return how far from its last target the arm has come to rest [m]; 0 if it has not.

        Other than 0 once in a hold. :param stamp_ns: when the pose was measured.
        """
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
