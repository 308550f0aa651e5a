# SPDX-License-Identifier: Apache-2.0
"""The controller's state, the reason for it, and its counters. This module does not use ROS."""

from collections.abc import Callable
from enum import IntEnum


class State(IntEnum):
    """States of the controller, with the values of ControllerStatus.STATE_*."""

    WAITING = 0
    MOVING = 1
    BRAKING = 2
    HOLDING = 3
    STOPPED = 4


COUNTED = ('executed', 'clamped', 'refused', 'holds', 'stops')

# A controller that starts while a policy sends targets would move at once, on a motion that it has
# not seen begin.
FIRST_A_HOLD = 'this controller has just started: the first command must be a hold'


class Condition:
    """State and counters of the controller, which changes them; the reporter reads them."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """
        Begin in WAITING.

        :param changed: called after every change of the state.
        """
        self._changed = changed
        self.state, self.reason = State.WAITING, 'no hold heard yet'
        self.refusal = ''  # why the last target was refused; empty when it was executed
        self.counts = dict.fromkeys(COUNTED, 0)

    def enter(self, state: State, reason: str) -> None:
        """Enter a state, for a reason; forget the last refusal."""
        is_new = state != self.state
        self.state, self.reason, self.refusal = state, reason, ''
        if is_new:
            self.counts['stops'] += state == State.STOPPED
            self._changed()

    @property
    def closed(self) -> str:
        """Why no target is executed yet, empty when some may be."""
        return FIRST_A_HOLD if self.state == State.WAITING else ''

    def begin(self) -> None:
        """Take note of a command to hold; the first one ends WAITING."""
        if self.state == State.WAITING:
            self.enter(State.HOLDING, 'the policy holds')

    def refuse(self, reason: str) -> None:
        """Count a target that was refused, and keep the reason."""
        self.counts['refused'] += 1
        self.refusal = reason

    def describe(self) -> str:
        """Return why the last target was refused, or else the reason for the state."""
        return f'refused: {self.refusal}' if self.refusal else self.reason

    def __str__(self) -> str:
        """Return the state and the reason in one line."""
        text = self.describe()
        return f'{self.state.name.lower()}: {text}' if text else self.state.name.lower()
