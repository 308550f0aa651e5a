# SPDX-License-Identifier: Apache-2.0
"""A signal ends a block, whatever the library in which it arrives makes of it."""

import signal
import sys

import pytest

from xvla_ros.tools.interrupts import interruptible

NUMBERS = [signal.SIGINT, signal.SIGTERM]
each_signal = pytest.mark.parametrize('number', NUMBERS)


@pytest.fixture(autouse=True)
def same_handlers():
    before = [sys.unraisablehook, *map(signal.getsignal, NUMBERS)]
    yield
    assert [sys.unraisablehook, *map(signal.getsignal, NUMBERS)] == before


def run(deed, *arguments):
    """Do something that signals may end, and check afterwards."""
    with interruptible(*NUMBERS) as check:
        check()
        deed(*arguments)
        check()


@each_signal
def test_a_signal_ends_the_block(number):
    with pytest.raises(KeyboardInterrupt):
        run(signal.raise_signal, number)


@each_signal
def test_a_signal_that_a_library_makes_another_error_of_ends_it_all_the_same(number):
    def load():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ImportError('initialization failed') from None

    with pytest.raises(KeyboardInterrupt) as ended:
        run(load)
    assert isinstance(ended.value.__cause__, ImportError)


@each_signal
def test_a_signal_that_a_callback_dropped_is_raised_by_the_next_check(number, monkeypatch):
    class Interrupted:
        def __del__(self):
            signal.raise_signal(number)  # Python drops what a destructor raises

    said = []
    monkeypatch.setattr(sys, 'unraisablehook', said.append)
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted)
    assert not said  # by default, a stack on stderr


def test_what_else_a_callback_drops_is_still_told(monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError

    told = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda dropped: told.append(dropped.exc_type))
    run(Broken)
    assert told == [ValueError]


def test_without_a_signal_errors_are_what_they_were():
    def load():
        raise ImportError('really missing')

    with pytest.raises(ImportError, match='really missing'):
        run(load)
