# SPDX-License-Identifier: Apache-2.0
"""The control thread: at every deadline, measure, decide, publish. Nothing else runs on it."""

from collections.abc import Callable
import threading
import time
import traceback

from rclpy.clock import Clock

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation import check_streams
from xvla_ros.core.ticker import LatenessRecord, Ticker
from xvla_ros.nodes.arm_state import ArmStates
from xvla_ros.nodes.policy_control import PolicyControl
from xvla_ros.nodes.policy_outputs import PolicyOutputs
from xvla_ros.nodes.policy_state import State
from xvla_ros.nodes.status import Lateness, lateness, RECENT_TICKS


class ArmReader:
    """The arms as they are now, fresh and complete, or the reason why not."""

    def __init__(self, embodiment: Embodiment, states: ArmStates, clock: Clock) -> None:
        """Remember what to read."""
        self._control, self._states, self._clock = embodiment.control, states, clock

    def read(self) -> tuple[ArmPose, ...]:
        """
        Return one measured pose per arm.

        :raises ObservationError: naming the stream that is missing, stale, from the future or
            malformed.
        """
        stamps, poses = self._states.read()
        now_ns = self._clock.now().nanoseconds
        # No skew limit: arms are not compared with images here, and each has its own age limit.
        check_streams(
            stamps, self._states.limits, now_ns, float('inf'), self._control.future_tolerance_s
        )
        return poses


class ControlThread:
    """Ticks from `start` to `stop`; what a tick raises is a latched fault, and ticks go on."""

    def __init__(
        self,
        control: PolicyControl,
        arms: ArmReader,
        outputs: PolicyOutputs,
        clock: Clock,
        rate_hz: float,
        changed: Callable[[], None],
    ) -> None:
        """Prepare; `changed` is called from the thread whenever the state has changed."""
        self._control, self._arms, self._outputs, self._clock = control, arms, outputs, clock
        self._ticker, self._changed = Ticker(rate_hz), changed
        self._stop = threading.Event()
        self._state: State | None = None
        self._missed = 0
        self._thread = threading.Thread(target=self._run, name='control', daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """End; no target leaves any more when this returns."""
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
            except Exception:
                now_ns = self._clock.now().nanoseconds
                self._control.fault(f'control thread: {traceback.format_exc()}', now_ns)

    def _tick(self, deadline_ns: int) -> None:
        self._missed += time.monotonic_ns() - deadline_ns > self._ticker.period_ns // 2
        measured, trouble = None, ''
        try:
            measured = self._arms.read()
        except ObservationError as error:
            trouble = str(error)
        now_ns = self._clock.now().nanoseconds
        command = self._control.tick(now_ns, measured, trouble)
        if command is not None:
            self._outputs.send(command, now_ns)
        state = self._control.state(now_ns)
        if state != self._state:
            self._state = state
            self._changed()
