# SPDX-License-Identifier: Apache-2.0
"""The error classes of xvla_ros, by who can fix the error, and how errors are printed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import traceback

from xvla_ros.core.missing import missing_package

# Environment variable: when set, an unexpected error also prints its stack.
STACK_VARIABLE = 'XVLA_TRACEBACK'


class XvlaError(Exception):
    """Base class. The message says what was wrong, where, and what was expected."""

    kind = 'error'

    def __init__(self, text: str = '', culprit: str = '', code: str = '') -> None:
        """
        Say what is wrong.

        :param culprit: the input stream, such as `camera main`. :param code: one of
            reason_codes.MEANING; `kind` when nothing more is known.
        """
        super().__init__(text)
        self.culprit, self.code = culprit, code or self.kind


class ConfigError(XvlaError):
    """The user's configuration is wrong: an embodiment file, a parameter, a command line."""

    kind = 'configuration'


class ObservationError(XvlaError):
    """An input is missing, stale or malformed: nothing is predicted, the robot holds."""

    kind = 'observation'


class InferenceError(XvlaError):
    """The model failed, or its answer cannot be used: the robot holds."""

    kind = 'inference'


class CheckpointError(XvlaError):
    """A checkpoint is incomplete, malformed or does not fit the embodiment."""

    kind = 'checkpoint'


@dataclass(frozen=True, slots=True)
class Reason:
    """
    Why the robot does not move as planned; false when there is no reason.

    code: one of reason_codes.MEANING. text: for people; its figures may change. source: the
    input or part that is at fault, such as `camera wrist`; empty if the code implies it.
    """

    code: str = ''
    text: str = ''
    source: str = ''

    def __bool__(self) -> bool:
        """Tell whether there is a reason."""
        return bool(self.code)

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def is_like(self, other: 'Reason') -> bool:
        """Tell whether another reason differs only in its text."""
        return (self.code, self.source) == (other.code, other.source)

    @property
    def counted(self) -> str:
        """Name under which it is counted: an input stream, a rule or a part of the system."""
        return self.source or self.code


def reason_of(error: XvlaError) -> Reason:
    """Return an error as a reason."""
    return Reason(error.code, str(error), error.culprit)


@contextmanager
def blamed_on(culprit: str) -> Iterator[None]:
    """Add the name of the input stream to errors raised inside."""
    try:
        yield
    except ObservationError as error:
        error.culprit = error.culprit or culprit
        raise


def one_line(error: BaseException) -> str:
    """
    Return an error as one line for a user.

    The line of an XvlaError or a missing package says what to do. For any other error it names
    the type and the place in the code, and how to print the stack.
    """
    text = ' '.join(str(error).split())
    if isinstance(error, XvlaError):
        return text
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f' ({Path(frames[-1].filename).name}:{frames[-1].lineno})' if frames else ''
    hint = '' if os.environ.get(STACK_VARIABLE) else f'; {STACK_VARIABLE}=1 shows the stack'
    return f'{type(error).__name__}: {text}{place}{hint}'


def show_stack(error: BaseException) -> None:
    """Print the stack of an unexpected error to stderr, if the user asked for it."""
    if os.environ.get(STACK_VARIABLE) and not isinstance(error, XvlaError):
        traceback.print_exception(error)
