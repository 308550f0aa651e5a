# SPDX-License-Identifier: Apache-2.0
"""What the runtime needs to know of the world: it looks, and asks where the arms are."""

from collections.abc import Callable
import time
from typing import Protocol

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError, Reason, reason_of
from xvla_ros.core.observation import Observation
from xvla_ros.runtime.worker_messages import Waiting

# How often the inputs are looked at while an inference runs or nothing arrives: bounds how late a
# hold can be.
WATCH_PERIOD_S = 0.05
# A reason whose numbers changed is said again after this long.
REPEAT_S = 1.0


class Arms(Protocol):
    """The arms as the control side sees them."""

    def read(self) -> tuple[ArmPose, ...]:
        """
        Return one measured pose per arm, base frame, gripper opening 0 closed to 1 open.

        :raises ObservationError: a stream is missing, stale, from the future or malformed.
        """


class Inputs(Protocol):
    """Cameras and arms as the inference side sees them: topics, a bag, a simulated world."""

    def wait_for_frame(self, after_ns: int, timeout_s: float) -> bool:
        """Sleep until there are frames newer than a stamp [ns], or for the timeout; say which."""

    def check(self) -> None:
        """
        Tell whether an observation could be made now.

        :raises ObservationError: naming the input that forbids it.
        """

    def stamp_ns(self) -> int:
        """
        Return the stamp of the observation that could be made now [ns].

        :raises ObservationError: naming the input that forbids it.
        """

    def observe(self, instruction: str) -> Observation:
        """
        Freeze the newest frames and the arms' state of the oldest of them.

        :raises ObservationError: naming the input that forbids it.
        """


class InputWatch:
    """
    Says when the inputs become unusable, for another reason, or usable again, as soon as it is so.

    A reason of which only the figures change, as the age of a silent camera, is said again once a
    second.
    """

    def __init__(
        self,
        inputs: Inputs,
        send: Callable[[Waiting], object],
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Remember what to watch and whom to tell.

        :param time_s: tells seconds apart.
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
