# SPDX-License-Identifier: Apache-2.0
"""The inputs of the runtime as protocols: arms for control, observations for inference."""

from collections.abc import Callable
import time
from typing import Protocol

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError, Reason, reason_of
from xvla_ros.core.observation import Observation
from xvla_ros.runtime.worker_messages import Waiting

# How often the inputs are checked while an inference runs or nothing arrives. It delays a hold by
# at most this.
WATCH_PERIOD_S = 0.05
# A reason of which only numbers changed is reported again after this long.
REPEAT_S = 1.0


class Arms(Protocol):
    """Gives the control side the measured arms."""

    def read(self) -> tuple[ArmPose, ...]:
        """
        Return one measured pose per arm, base frame, gripper opening 0 closed to 1 open.

        :raises ObservationError: a stream is missing, stale, from the future or malformed.
        """


class Inputs(Protocol):
    """Gives the inference side cameras and arms, from topics, a bag or a simulated world."""

    def wait_for_frame(self, after_ns: int, timeout_s: float) -> bool:
        """Wait for frames newer than a stamp [ns]; return False after the timeout."""

    def check(self) -> None:
        """
        Check that an observation is possible now.

        :raises ObservationError: naming the input that forbids it.
        """

    def stamp_ns(self) -> int:
        """
        Return the stamp that an observation made now would have [ns].

        :raises ObservationError: naming the input that forbids it.
        """

    def observe(self, instruction: str) -> Observation:
        """
        Return the newest frames, with the arms' state at the stamp of the oldest frame.

        :raises ObservationError: naming the input that forbids it.
        """


class InputWatch:
    """
    Reports when the inputs become unusable or usable again, and when the reason changes.

    A reason of which only a number changes, such as an image's age, is reported once a second.
    """

    def __init__(
        self,
        inputs: Inputs,
        send: Callable[[Waiting], object],
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Store the parts.

        :param send: reports a change to the control side.
        :param time_s: a clock [s].
        """
        self._inputs, self._send, self._reason = inputs, send, Reason()
        self._time_s, self._said_s = time_s, 0.0

    def look(self) -> None:
        """Report a change."""
        reason = Reason()
        try:
            self._inputs.check()
        except ObservationError as error:
            reason = reason_of(error)
        now_s = self._time_s()
        old = reason == self._reason or now_s - self._said_s < REPEAT_S
        if old and reason.is_like(self._reason):
            return
        self._send(Waiting(source='inputs', reason=reason))
        self._reason, self._said_s = reason, now_s
