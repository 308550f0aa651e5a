# SPDX-License-Identifier: Apache-2.0
"""Makes a signal end a command, even when it arrives inside a library that drops it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
import sys
from typing import Any


@contextmanager
def interruptible(*numbers: signal.Signals) -> Iterator[Callable[[], None]]:
    """
    End the block with a KeyboardInterrupt when a signal arrives, even if a library drops it.

    A library can lose a KeyboardInterrupt: a C extension turns it into an ImportError while it
    loads, and a callback of a weak reference drops it. After a signal, every error that ends the
    block is therefore raised as a KeyboardInterrupt. Call the yielded function in a loop: it
    raises an interrupt that was dropped. The traceback that Python prints for a dropped interrupt
    is suppressed.

    :param numbers: the signals to handle; their former handlers are restored at the end.
    """
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if heard:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, hear) for number in numbers}
    try:
        with _dropped_unsaid():
            yield check
    except Exception as error:
        if heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _dropped_unsaid() -> Iterator[None]:
    """Suppress the traceback of a KeyboardInterrupt that Python drops."""
    say = sys.unraisablehook

    def say_others(dropped: Any) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            say(dropped)

    sys.unraisablehook = say_others
    try:
        yield
    finally:
        sys.unraisablehook = say
