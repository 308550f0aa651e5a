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

# Without this rule, a controller that starts while a policy sends targets would join the motion
# at once, without its beginning.
FIRST_A_HOLD = Reason(
    'first_a_hold', 'this controller has just started: the first command must be a hold'
)
UNHEARD = Reason('no_hold_yet', 'no hold was received yet')
HOLDS = Reason('policy_holds', 'the policy holds')
RESET = Reason('reset', 'reset')
ENDS = Reason('ends', 'the controller ends')


class Condition:
    """State and counters. The controller changes them, and the reporter reads them."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """
        Begin in WAITING.

        :param changed: called after every change of the state.
        """
        self._changed = changed
        self.state, self.reason = State.WAITING, UNHEARD
        self.refusal = Reason()  # why the last target was refused; empty if it was executed
        self.counts = dict.fromkeys(COUNTED, 0)

    def enter(self, state: State, reason: Reason) -> None:
        """Enter a state for a reason, and clear the last refusal."""
        is_new = state != self.state
        self.state, self.reason, self.refusal = state, reason, Reason()
        if is_new:
            self.counts['stops'] += state == State.STOPPED
            self._changed()

    @property
    def closed(self) -> Reason:
        """Why no target is executed yet; empty when targets may be executed."""
        return FIRST_A_HOLD if self.state == State.WAITING else Reason()

    def begin(self) -> None:
        """Note a command to hold; the first one ends WAITING."""
        if self.state == State.WAITING:
            self.enter(State.HOLDING, HOLDS)

    def refuse(self, reason: Reason) -> None:
        """Count a refused target, and keep the reason."""
        self.counts['refused'] += 1
        self.refusal = reason

    def describe(self) -> str:
        """Return why the last target was refused, or else the reason for the state."""
        return f'refused: {self.refusal}' if self.refusal else self.reason.text

    @property
    def code(self) -> str:
        """The reason code that belongs to `describe`."""
        return (self.refusal or self.reason).code

    def __str__(self) -> str:
        """Return the state and the reason in one line."""
        text = self.describe()
        return f'{self.state.name.lower()}: {text}' if text else self.state.name.lower()


def silence(silent_s: float, refusal: Reason) -> Reason:
    """Return the reason for a hold after `silent_s` [s] without an executed target."""
    text = f'no target executed for {silent_s:.2f} s: {refusal or "none came"}'
    return Reason(refusal.code or 'no_targets', text)


def also(reason: Reason, text: str) -> Reason:
    """Return a reason with more text."""
    return Reason(reason.code, f'{reason}; {text}', reason.source)
