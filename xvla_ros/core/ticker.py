# SPDX-License-Identifier: Apache-2.0
"""A loop with absolute deadlines that records how late each tick ran."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
import time

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import NANOSECONDS

# Default size of the ring: 30 minutes at 100 Hz, 3 MB.
CAPACITY = 180_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatenessRecord:
    """
    How late ticks ran, by the monotonic clock, which all processes of a machine share.

    deadlines_ns: (N,) int64, when each tick was due. lateness_ns: (N,) int64, how long after it
    the tick ran; a deadline that was skipped counts with the tick that ran next.
    """

    deadlines_ns: NDArray[np.int64]
    lateness_ns: NDArray[np.int64]
    period_ns: int

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the lateness [ms]; NaN when nothing was recorded."""
        return (
            float(np.percentile(self.lateness_ns, percent)) / 1e6
            if len(self.lateness_ns)
            else float('nan')
        )

    @property
    def max_ms(self) -> float:
        """Worst lateness [ms]."""
        return self.percentile_ms(100)

    def missed(self, twin: 'LatenessRecord | None' = None) -> int:
        """
        Return how many ticks were more than half a period late while the twin was not.

        :param twin: record of a process that only ticks, over the same time. A tick that is late
            in both is late because of the machine and does not count.
        """
        late = np.flatnonzero(self.lateness_ns > self.period_ns // 2)
        if twin is None or not len(late):
            return len(late)
        excused = twin.lateness_ns > twin.period_ns // 2
        starts, ends = twin.deadlines_ns[excused], (twin.deadlines_ns + twin.lateness_ns)[excused]
        due = self.deadlines_ns[late, None]
        ran = due + self.lateness_ns[late, None]
        return int(np.sum(~np.any((starts <= ran) & (ends >= due), axis=1)))

    def missed_percent(self, twin: 'LatenessRecord | None' = None) -> float:
        """Return `missed` in percent of all ticks."""
        return 100.0 * self.missed(twin) / max(len(self.lateness_ns), 1)

    def between(self, start_ns: int, end_ns: int) -> 'LatenessRecord':
        """Return the ticks that were due in [start_ns, end_ns)."""
        inside = (self.deadlines_ns >= start_ns) & (self.deadlines_ns < end_ns)
        return LatenessRecord(
            deadlines_ns=self.deadlines_ns[inside],
            lateness_ns=self.lateness_ns[inside],
            period_ns=self.period_ns,
        )

    def save(self, path: str | Path) -> None:
        """Write the record to an .npz file."""
        np.savez(
            path,
            deadlines_ns=self.deadlines_ns,
            lateness_ns=self.lateness_ns,
            period_ns=self.period_ns,
        )


def load_record(path: str | Path) -> LatenessRecord:
    """Read a record that `LatenessRecord.save` wrote."""
    with np.load(path) as stored:
        return LatenessRecord(
            deadlines_ns=stored['deadlines_ns'],
            lateness_ns=stored['lateness_ns'],
            period_ns=int(stored['period_ns']),
        )


class Ticker:
    """
    Calls a function at a fixed rate from the thread that runs `run`.

    Deadlines are absolute: neither the work nor a late wake-up moves the next one. When whole
    periods were missed, the function is called once, not several times. Recording allocates
    no memory.
    """

    def __init__(
        self,
        rate_hz: float,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
        capacity: int = CAPACITY,
    ) -> None:
        """
        Prepare the ring.

        :param clock_ns: monotonic clock [ns]. sleep: waits that many seconds of it.
        :param capacity: how many of the latest ticks are kept.
        :raises ValueError: the rate is not positive.
        """
        if not rate_hz > 0:
            raise ValueError(f'a ticker needs a positive rate, got {rate_hz} Hz')
        self.period_ns = round(NANOSECONDS / rate_hz)
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._deadlines_ns = np.zeros(capacity, dtype=np.int64)
        self._lateness_ns = np.zeros(capacity, dtype=np.int64)
        self._count = 0

    def run(self, tick: Callable[[int], None], stop: Event) -> None:
        """
        Call `tick(deadline_ns)` at every deadline until `stop` is set.

        What `tick` raises ends the loop and is passed on.
        """
        deadline_ns = self._clock_ns() + self.period_ns
        while not stop.is_set():
            late_ns = self._clock_ns() - deadline_ns
            if late_ns < 0:
                self._sleep(-late_ns / NANOSECONDS)
                continue
            latest_ns = deadline_ns + late_ns // self.period_ns * self.period_ns
            for due_ns in range(deadline_ns, latest_ns + 1, self.period_ns):
                self._note(due_ns, late_ns - (due_ns - deadline_ns))
            tick(latest_ns)
            deadline_ns = latest_ns + self.period_ns

    def _note(self, deadline_ns: int, lateness_ns: int) -> None:
        index = self._count % len(self._lateness_ns)
        self._deadlines_ns[index] = deadline_ns
        self._lateness_ns[index] = lateness_ns
        self._count += 1

    def record(self, last: int | None = None) -> LatenessRecord:
        """Return a copy of what was recorded, oldest first: all, or the `last` ticks."""
        size = len(self._lateness_ns)
        kept = size if last is None else min(last, size)
        order = np.arange(max(self._count - kept, 0), self._count) % size
        return LatenessRecord(
            deadlines_ns=self._deadlines_ns[order],
            lateness_ns=self._lateness_ns[order],
            period_ns=self.period_ns,
        )
