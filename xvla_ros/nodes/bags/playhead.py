# SPDX-License-Identifier: Apache-2.0
"""The position of a player in a bag: it runs at a rate, pauses and steps through messages."""

from collections.abc import Callable
import threading
import time

from xvla_ros.core.chunk import NANOSECONDS

# A wait ends at most this long after a request to end.
NOTICE_S = 0.1


class Playhead:
    """The position. Any thread may pause, resume or step; one thread waits."""

    def __init__(self, rate: float, paused: bool = False) -> None:
        """Start at the beginning of the bag, now. :param rate: speed, 1 as recorded."""
        self._rate, self.paused = rate, paused
        self._changed = threading.Condition()
        self._begun_s = self._first_s = time.monotonic()
        self._position_ns, self._steps = 0, 0

    def restart(self) -> None:
        """Return to the beginning of the bag, now; a pause and its requested steps stay."""
        with self._changed:
            self._begun_s = self._first_s = time.monotonic()
            self._position_ns = 0

    def pause(self) -> None:
        """Stop at the current position."""
        with self._changed:
            self._position_ns, self.paused = self._now_ns(), True
            self._changed.notify_all()

    def resume(self) -> None:
        """Continue from the current position."""
        with self._changed:
            self._begun_s, self.paused = self._origin_s(), False
            self._changed.notify_all()

    def toggle(self) -> None:
        """Pause or resume."""
        (self.resume if self.paused else self.pause)()

    def step(self) -> bool:
        """Allow one message while paused; return False if not paused."""
        with self._changed:
            self._steps += self.paused
            self._changed.notify_all()
            return self.paused

    @property
    def shift_ns(self) -> int:
        """Delay of the playback by pauses so far [ns]."""
        with self._changed:
            return round((self._origin_s() - self._first_s) * NANOSECONDS)

    def wait(
        self,
        since_ns: int,
        stop: threading.Event,
        tick: Callable[[int], None] | None = None,
        tick_s: float = NOTICE_S,
    ) -> bool:
        """
        Sleep until a message is due, `since_ns` after the start; return whether to stop instead.

        :param tick: called every `tick_s` with the position [ns], while it moves.
        """
        while not stop.is_set():
            with self._changed:
                if self.paused:
                    if self._steps:
                        self._steps -= 1
                        self._position_ns = max(self._position_ns, since_ns)
                        return False
                    self._changed.wait(NOTICE_S)
                    continue
                now_ns = self._now_ns()
            if tick:
                tick(min(now_ns, since_ns))
            left_s = (since_ns - now_ns) / NANOSECONDS / self._rate
            if left_s <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left_s, tick_s))
        return True

    def _now_ns(self) -> int:
        if self.paused:
            return self._position_ns
        return round((time.monotonic() - self._begun_s) * self._rate * NANOSECONDS)

    def _origin_s(self) -> float:
        """Return the start time that gives the current position without pauses [s]."""
        if not self.paused:
            return self._begun_s
        return time.monotonic() - self._position_ns / NANOSECONDS / self._rate
