# SPDX-License-Identifier: Apache-2.0
"""The controller's state, the reason for it, and its counters. This module does not use ROS."""

from collections.abc import Callable
from enum import IntEnum

from xvla_ros.core.errors import Reason


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
FIRST_A_HOLD = Reason(
    'first_a_hold', 'this controller has just started: the first command must be a hold'
)
UNHEARD = Reason('no_hold_yet', 'no hold heard yet')
HOLDS = Reason('policy_holds', 'the policy holds')
RESET = Reason('reset', 'reset')
ENDS = Reason('ends', 'the controller ends')


class Condition:
    """State and counters of the controller, which changes them; the reporter reads them."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """
        Begin in WAITING.

        :param changed: called after every change of the state.
        """
        self._changed = changed
        self.state, self.reason = State.WAITING, UNHEARD
        self.refusal = Reason()  # why the last target was refused; none when it was executed
        self.counts = dict.fromkeys(COUNTED, 0)

    def enter(self, state: State, reason: Reason) -> None:
        """Enter a state, for a reason; forget the last refusal."""
        is_new = state != self.state
        self.state, self.reason, self.refusal = state, reason, Reason()
        if is_new:
            self.counts['stops'] += state == State.STOPPED
            self._changed()

    @property
    def closed(self) -> Reason:
        """Why no target is executed yet, none when some may be."""
        return FIRST_A_HOLD if self.state == State.WAITING else Reason()

    def begin(self) -> None:
        """Take note of a command to hold; the first one ends WAITING."""
        if self.state == State.WAITING:
            self.enter(State.HOLDING, HOLDS)

    def refuse(self, reason: Reason) -> None:
        """Count a target that was refused, and keep the reason."""
        self.counts['refused'] += 1
        self.refusal = reason

    def describe(self) -> str:
        """Return why the last target was refused, or else the reason for the state."""
        return f'refused: {self.refusal}' if self.refusal else self.reason.text

    @property
    def code(self) -> str:
        """The code of what `describe` says."""
        return (self.refusal or self.reason).code

    def __str__(self) -> str:
        """Return the state and the reason in one line."""
        text = self.describe()
        return f'{self.state.name.lower()}: {text}' if text else self.state.name.lower()


def silence(silent_s: float, refusal: Reason) -> Reason:
    """Return the reason of a hold for want of targets, after so long [s]."""
    text = f'no target executed for {silent_s:.2f} s: {refusal or "none came"}'
    return Reason(refusal.code or 'no_targets', text)


def also(reason: Reason, text: str) -> Reason:
    """Return a reason with more to say."""
    return Reason(reason.code, f'{reason}; {text}', reason.source)
