# SPDX-License-Identifier: Apache-2.0
"""A thousand broken inputs for every reader; `make fuzz` feeds a hundred thousand."""

from counts import FULL
import pytest

from bench.fuzz.__main__ import feed, fuzz
from bench.fuzz.mutations import smallest
from bench.fuzz.targets import refused, Target, targets

COUNT = 10_000 if FULL else 1000
NAMES = (
    *('embodiment file', 'messages', 'config.json', 'checkpoint header', 'adapter_config.json'),
    *('bag', 'requests', 'answers'),
)


@pytest.fixture(scope='module')
def by_name(tmp_path_factory):
    return {t.name: t for t in targets(tmp_path_factory.mktemp('fuzz'))}


@pytest.mark.parametrize('name', NAMES)
def test_broken_input_is_read_or_refused_and_never_crashes(by_name, name):
    counts = fuzz(by_name[name], COUNT, start=COUNT)
    assert sum(counts.values()) >= COUNT // 2
    assert counts[True], 'nothing was refused: the inputs are not broken enough'


def test_every_target_is_fed(by_name):
    assert set(by_name) == set(NAMES)


def test_a_crash_is_shown_with_its_number_and_the_smallest_input(capsys):
    def read(data):
        assert b'null' not in data

    target = Target(name='one', read=read, make=lambda number: b'a' * number + b'null' + b'b' * 9)
    with pytest.raises(AssertionError):
        feed(target, 5, 10)
    assert "one: input 5 crashes it, as does b'null'" in capsys.readouterr().out
    assert smallest(b'abcde', lambda data: b'c' in data) == b'c'


def test_inputs_of_a_number_are_the_same_in_every_run(by_name):
    for target in by_name.values():
        if target.make:
            assert [target.make(n) for n in range(50)] == [target.make(n) for n in range(50)]


@pytest.mark.parametrize(('name', 'number'), [('bag', 3800)])
def test_what_once_crashed_a_reader_is_read_or_refused(by_name, name, number):
    """Of bag 3800 the index said that a chunk begins beyond what a file can have."""
    target = by_name[name]
    refused(target.read, target.make(number))
