# SPDX-License-Identifier: Apache-2.0
"""Computes the duration of each step from the times of the commands. Free of ROS."""

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ObservationError

# A step gets the time since the last one, but at most this many control periods, so that nothing
# jumps after a gap. After a longer gap, position controllers have stopped at the last command.
MOST_PERIODS = 2.0


class Pace:
    """The times of the last commands [ns], by the node's clock."""

    def __init__(self, period_s: float) -> None:
        """
        Start before the first command.

        :param period_s: period of the targets.
        """
        self._period_s, self._most_s = period_s, MOST_PERIODS * period_s
        self._most_ns = round(self._most_s * NANOSECONDS)
        self._executed_ns = 0
        self.reset()

    def reset(self) -> None:
        """Forget the motion."""
        self._stamp_ns = self._commanded_ns = 0

    def judge(self, stamp_ns: int, now_ns: int) -> None:
        """Note the stamp of a target that leads to a step: its own or a braking step."""
        self._stamp_ns, self._commanded_ns = stamp_ns, now_ns

    def execute(self, now_ns: int) -> None:
        """Note that a target was executed."""
        self._executed_ns = now_ns

    def skip(self, ns: int) -> None:
        """Note that the arms have gone on by themselves along their path for a time [ns]."""
        self._stamp_ns += ns
        self._commanded_ns += ns

    def silent_s(self, now_ns: int) -> float:
        """Return the time since the last executed target [s]."""
        return (now_ns - self._executed_ns) / NANOSECONDS

    def since_s(self, now_ns: int) -> float:
        """Return the time since the last command of any kind [s]."""
        return (now_ns - self._commanded_ns) / NANOSECONDS

    def first_s(self, now_ns: int) -> float:
        """Return the duration of a step that ends a hold or braking [s]."""
        return min(self.since_s(now_ns), self._period_s)

    def next_s(self, stamp_ns: int) -> float:
        """
        Return the duration of the next step of a motion, from the target's stamp [s].

        :raises ObservationError: the target is not newer than the last.
        """
        elapsed_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
        if elapsed_s <= 0:
            text = f'target is {-elapsed_s:.3f} s older than the one before'
            raise ObservationError(text, code='target_older')
        return min(elapsed_s, self._most_s)

    def paused(self, now_ns: int) -> bool:
        """Tell whether the last command is so old that the arms have stopped at it."""
        return now_ns - self._commanded_ns > self._most_ns

    def brake(self, now_ns: int) -> float:
        """Note a braking step and return its duration [s]; 0 if one was just made."""
        since_s = self.since_s(now_ns)
        if since_s < self._period_s / 2:
            return 0.0
        self._stamp_ns += now_ns - self._commanded_ns
        self._commanded_ns = now_ns
        return min(since_s, self._most_s)
