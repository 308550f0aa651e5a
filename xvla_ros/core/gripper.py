# SPDX-License-Identifier: Apache-2.0
"""Gripper logic: from the model's probability to an opening and a driver's command."""

import math

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.settings import GripperSettings

OPEN = 1.0
CLOSED = 0.0
# How far a finger joint may be measured beyond either end, in multiples of its travel. Fingers
# open and close a little farther than their settings; a wrong unit is at least 57 times off.
TRAVELS = 1.0


class GripperFilter:
    """
    Decides open or closed from probabilities.

    The gripper's settings give polarity, threshold, hysteresis and the minimum time between
    changes. Not thread-safe: the control thread owns it.
    """

    def __init__(self, settings: GripperSettings) -> None:
        """Start undecided: the first probability is compared with the threshold alone."""
        self._settings = settings
        self._closed: bool | None = None
        self._changed_ns = 0

    def reset(self, opening: float | None = None, now_ns: int = 0) -> None:
        """Forget the decision, or derive it from a measured opening (0 to 1)."""
        known = opening is not None and math.isfinite(opening)
        self._closed = opening < 0.5 if known and opening is not None else None
        self._changed_ns = now_ns - round(self._settings.dwell_s * NANOSECONDS)

    def retune(self, settings: GripperSettings) -> None:
        """Use other settings from now on; the current decision stays until they change it."""
        self._settings = settings

    def update(self, probability: float, now_ns: int) -> float:
        """
        Return the opening to command: 1.0 open, 0.0 closed, NaN (no command) while undecided.

        :param probability: the model's value; a value that is not finite changes nothing.
        """
        if math.isfinite(probability):
            self._decide(
                probability if self._settings.closed_probability == 1.0 else 1.0 - probability,
                now_ns,
            )
        if self._closed is None:
            return math.nan
        return CLOSED if self._closed else OPEN

    def _decide(self, closed_probability: float, now_ns: int) -> None:
        """Close or open by the probability, at least `dwell_s` after the last change."""
        release = self._settings.hysteresis if self._closed else 0.0
        closed = closed_probability >= self._settings.threshold - release
        if self._closed is None or (
            closed != self._closed
            and now_ns - self._changed_ns >= self._settings.dwell_s * NANOSECONDS
        ):
            self._closed, self._changed_ns = closed, now_ns


class ContinuousGripper:
    """The gripper of a joint-space checkpoint, which predicts openings, not probabilities."""

    def retune(self, settings: GripperSettings) -> None:
        """Do nothing: no setting applies."""

    def reset(self, opening: float | None = None, now_ns: int = 0) -> None:
        """Do nothing: there is no state."""

    def update(self, opening: float, now_ns: int) -> float:
        """Return the opening to command, 0.0 closed to 1.0 open; NaN: no command."""
        return min(max(opening, CLOSED), OPEN) if math.isfinite(opening) else math.nan


def implausible_position(settings: GripperSettings, position: float) -> str:
    """Return why a measured finger joint cannot be in the settings' unit; empty when it can."""
    begin, end = sorted((settings.closed_position, settings.open_position))
    if begin - TRAVELS * (end - begin) <= position <= end + TRAVELS * (end - begin):
        return ''
    return (
        f"finger joint '{settings.joint_names[0]}' is at {position:.4g}, expected about "
        f'closed_position {settings.closed_position:g} to open_position {settings.open_position:g}'
        ': is it in another unit?'
    )


def measured_opening(settings: GripperSettings, position: float) -> float:
    """Return the opening, 0 closed to 1 open, of a measured finger joint position [m or rad]."""
    opening = (position - settings.closed_position) / (
        settings.open_position - settings.closed_position
    )
    return min(max(opening, CLOSED), OPEN)
