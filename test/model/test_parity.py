# SPDX-License-Identifier: Apache-2.0
"""
Our network gives what the published one gives.

The fixtures are what lerobot 0.4.4 and 0.6.1 answered for seeded weights and inputs, which are
drawn again here: `.venv/bin/python -m bench.parity --size small --write-fixture`.
"""

import numpy as np
import pytest
import torch

from bench.parity import compare, FIXTURES, LIMITS, seeded_network, write_layout
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.layouts import LAYOUTS
from xvla_ros.model.reading import read_config


@pytest.fixture(scope='module')
def network():
    return seeded_network('small')


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_layouts_network_equals_the_published_one(network, layout, tmp_path):
    write_layout(tmp_path / layout, network, layout)
    loaded = load_network(tmp_path / layout, read_config(tmp_path / layout), torch.float32)
    for version, fixture in FIXTURES.items():
        worst = compare(loaded, 'small', dict(np.load(fixture)))
        assert all(worst[stage] <= LIMITS[stage] / 5 for stage in LIMITS), (version, worst)


def test_the_comparison_is_not_blind(network):
    expected = dict(np.load(FIXTURES['0.4.4']))
    expected['encoder_1'] = np.roll(expected['encoder_1'], 1, axis=1)
    assert compare(network, 'small', expected)['encoder'] > LIMITS['encoder'] * 100
