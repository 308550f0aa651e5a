# SPDX-License-Identifier: Apache-2.0
"""A thousand broken inputs for every reader; `make fuzz` feeds a hundred thousand."""

from counts import FULL
import pytest

from bench.fuzz.__main__ import fuzz
from bench.fuzz.targets import targets

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
    counts = fuzz(by_name[name], COUNT, repeatable=True)
    assert sum(counts.values()) >= COUNT // 2
    assert counts[True], 'nothing was refused: the inputs are not broken enough'


def test_every_target_is_fed(by_name):
    assert set(by_name) == set(NAMES)
