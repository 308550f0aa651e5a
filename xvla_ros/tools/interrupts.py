# SPDX-License-Identifier: Apache-2.0
"""Signals that end a command, however deep in a library they arrive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
import sys
from typing import Any


@contextmanager
def interruptible(*numbers: signal.Signals) -> Iterator[Callable[[], None]]:
    """
    End the block by KeyboardInterrupt when a signal arrives, even where a library loses it.

    A C extension that is interrupted while it loads makes an ImportError of it, a callback of a
    weak reference drops it. Whatever error ends the block after a signal is therefore raised as
    KeyboardInterrupt; the yielded function raises one that was dropped: call it in a loop. Python
    would print the stack of what it drops: of ours it says nothing.
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
    """Say nothing of a KeyboardInterrupt that Python drops."""
    say = sys.unraisablehook

    def say_others(dropped: Any) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            say(dropped)

    sys.unraisablehook = say_others
    try:
        yield
    finally:
        sys.unraisablehook = say
