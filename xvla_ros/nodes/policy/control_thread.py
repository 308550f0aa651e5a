# SPDX-License-Identifier: Apache-2.0
"""The control thread: at every deadline it measures, decides and publishes, and nothing else."""

from collections.abc import Callable
import threading
import time

from xvla_ros.core.errors import one_line, Reason, show_stack
from xvla_ros.core.ticker import LatenessRecord, Ticker
from xvla_ros.nodes.policy.status import Lateness, lateness, RECENT_TICKS
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.policy import PolicyRuntime
from xvla_ros.runtime.state import State

# A simulation's clock that has stood still for this long of real time is a reason to hold [s].
STANDSTILL_S = 1.0
STOPPED = Reason('clock_stopped', '/clock stands still', 'clock')
UNHEARD = Reason('clock_unheard', 'no message on /clock yet: is the simulation running?', 'clock')


class ControlThread:
    """Ticks from `start` to `stop`. An error in a tick becomes a latched fault; ticks continue."""

    def __init__(
        self,
        runtime: PolicyRuntime,
        clock: Clock,
        rate_hz: float,
        changed: Callable[[], None],
    ) -> None:
        """Prepare; `changed` is called from the thread whenever the state changes."""
        self._runtime, self._control, self._clock = runtime, runtime.control, clock
        self._ticker, self._changed = Ticker(rate_hz), changed
        self._stop = threading.Event()
        self._state: State | None = None
        self._missed = 0
        self._last_ns, self._advanced_s = 0, time.monotonic()  # of the clock
        self._thread = threading.Thread(target=self._run, name='control', daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """End; no target is sent after this returns."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def lateness(self) -> Lateness:
        """Return how late recent ticks were."""
        return lateness(self._ticker.record(RECENT_TICKS), self._missed)

    def record(self) -> LatenessRecord:
        """Return how late all ticks were."""
        return self._ticker.record()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._ticker.run(self._tick, self._stop)
            except Exception as error:
                show_stack(error)
                now_ns = self._clock.now_ns()
                self._control.fault(Reason('control_thread', one_line(error)), now_ns)

    def _advances(self, now_ns: int) -> bool:
        """
        Tell whether the clock has changed since the last tick; hold if it has stopped.

        A simulation's clock may be slower than the ticks. Two targets must not have one time.
        """
        if now_ns != self._last_ns:
            self._last_ns, self._advanced_s = now_ns, time.monotonic()
            self._control.unblock('clock')
            return True
        if time.monotonic() - self._advanced_s > STANDSTILL_S:
            self._control.block('clock', STOPPED if now_ns else UNHEARD, now_ns)
            self._show_state(now_ns)
        return False

    def _tick(self, deadline_ns: int) -> None:
        self._missed += time.monotonic_ns() - deadline_ns > self._ticker.period_ns // 2
        now_ns = self._clock.now_ns()
        if not self._advances(now_ns):
            self._control.skip_tick()
            return
        self._runtime.tick(now_ns)
        self._show_state(now_ns)

    def _show_state(self, now_ns: int) -> None:
        """Call `changed` if the state has changed."""
        state = self._control.state(now_ns)
        if state != self._state:
            self._state = state
            self._changed()
