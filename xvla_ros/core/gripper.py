# SPDX-License-Identifier: Apache-2.0
"""Gripper logic: from the model's probability to a steady decision and a driver's command."""

import math

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.settings import GripperSettings

OPEN = 1.0
CLOSED = 0.0


class GripperFilter:
    """
    Decides open or closed from probabilities.

    Polarity, threshold, hysteresis and the least time between changes are the gripper's settings.
    Not thread-safe: the control thread owns it.
    """

    def __init__(self, settings: GripperSettings) -> None:
        """Start undecided: the first probability decides by the threshold alone."""
        self._settings = settings
        self._closed: bool | None = None
        self._changed_ns = 0

    def reset(self, opening: float | None = None, now_ns: int = 0) -> None:
        """Forget the decision, or take the one that a measured opening (0 to 1) shows."""
        known = opening is not None and math.isfinite(opening)
        self._closed = opening < 0.5 if known and opening is not None else None
        self._changed_ns = now_ns - round(self._settings.dwell_s * NANOSECONDS)

    def update(self, probability: float, now_ns: int) -> float:
        """
        Return the opening to command: 1.0 open, 0.0 closed, NaN (leave it) while undecided.

        :param probability: the model's value; one that is not finite changes nothing.
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
        """Close or open when the probability says so and the last change is long enough ago."""
        release = self._settings.hysteresis if self._closed else 0.0
        closed = closed_probability >= self._settings.threshold - release
        if self._closed is None or (
            closed != self._closed
            and now_ns - self._changed_ns >= self._settings.dwell_s * NANOSECONDS
        ):
            self._closed, self._changed_ns = closed, now_ns


class GripperEdge:
    """
    Turns openings into driver commands, once per change.

    Gripper actions block for up to a second (franka_gripper) and restart when they are sent again,
    so a command leaves only when it differs from the last one.
    """

    def __init__(self, settings: GripperSettings, resolution: float = 0.01) -> None:
        """Start with nothing sent; changes of the opening below `resolution` are none."""
        self._settings = settings
        self._resolution = resolution
        self._sent: float | None = None

    def reset(self) -> None:
        """Send the next opening whatever it is."""
        self._sent = None

    def command(self, opening: float) -> float | None:
        """Return the command for an opening [driver unit], or None when it is not new."""
        if not math.isfinite(opening):
            return None
        opening = min(max(opening, CLOSED), OPEN)
        if self._sent is not None and abs(opening - self._sent) < self._resolution:
            return None
        self._sent = opening
        return command_value(self._settings, opening)


def command_value(settings: GripperSettings, opening: float) -> float:
    """Return the driver's value for an opening 0 (closed) to 1 (open)."""
    return settings.command_closed + opening * (settings.command_open - settings.command_closed)


def measured_opening(settings: GripperSettings, position: float) -> float:
    """Return the opening, 0 closed to 1 open, of a measured finger joint position [m or rad]."""
    opening = (position - settings.closed_position) / (
        settings.open_position - settings.closed_position
    )
    return min(max(opening, CLOSED), OPEN)
