# SPDX-License-Identifier: Apache-2.0
"""How much time every step of a motion has, from when the arms were told what. No ROS in here."""

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ObservationError

# A step gets the time since the last one, at most this many control periods: after a gap nothing
# jumps. After a longer one without a command, position controllers have stopped at the last.
MOST_PERIODS = 2.0


class Pace:
    """The times of the last commands [ns], by the node's clock."""

    def __init__(self, period_s: float) -> None:
        """
        Begin with nothing commanded.

        :param period_s: of the targets.
        """
        self._period_s, self._most_s = period_s, MOST_PERIODS * period_s
        self._most_ns = round(self._most_s * NANOSECONDS)
        self._executed_ns = 0
        self.reset()

    def reset(self) -> None:
        """Forget the motion."""
        self._stamp_ns = self._commanded_ns = 0

    def judge(self, stamp_ns: int, now_ns: int) -> None:
        """Take note of a target, by its stamp, that yields a step: its own or one of braking."""
        self._stamp_ns, self._commanded_ns = stamp_ns, now_ns

    def execute(self, now_ns: int) -> None:
        """Take note that a target was executed."""
        self._executed_ns = now_ns

    def silent_s(self, now_ns: int) -> float:
        """Return how long no target was executed [s]."""
        return (now_ns - self._executed_ns) / NANOSECONDS

    def since_s(self, now_ns: int) -> float:
        """Return how long the arms were not commanded at all [s]."""
        return (now_ns - self._commanded_ns) / NANOSECONDS

    def first_s(self, now_ns: int) -> float:
        """Return the time that a target has which ends a hold or braking [s]."""
        return min(self.since_s(now_ns), self._period_s)

    def next_s(self, stamp_ns: int) -> float:
        """
        Return the time that the next target of a motion has, by its stamp [s].

        :raises ObservationError: it is not newer than the last.
        """
        elapsed_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
        if elapsed_s <= 0:
            text = f'target is {-elapsed_s:.3f} s older than the one before'
            raise ObservationError(text, code='target_older')
        return min(elapsed_s, self._most_s)

    def paused(self, now_ns: int) -> bool:
        """Tell whether the last command is so long ago that the arms rest where it led them."""
        return now_ns - self._commanded_ns > self._most_ns

    def brake(self, now_ns: int) -> float:
        """Take note of a step of braking and return its time [s]; 0 when one was just made."""
        since_s = self.since_s(now_ns)
        if since_s < self._period_s / 2:
            return 0.0
        self._commanded_ns = now_ns
        return min(since_s, self._most_s)
