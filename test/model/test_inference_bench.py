# SPDX-License-Identifier: Apache-2.0
"""The figures of the inference benchmark mean what they say."""

import pytest

from xvla_ros.bench.inference import entries, entry, preprocess, steps_needed
from xvla_ros.bench.knobs import Trade
from xvla_ros.model.sampler import Deviation


def test_a_ratio_above_one_is_better_for_us():
    found = entry([0.1, 0.1, 9.0], [0.4, 0.2, 0.3])
    assert found['ours'] == 100.0
    assert found['anchor'] == 300.0
    assert found['ratio'] == pytest.approx(3.0)


def test_the_default_is_our_bfloat16_against_their_float32():
    times = {
        ('float32', 10): [2.0],
        ('bfloat16', 10): [1.0],
        ('anchor float32', 10): [4.0],
        ('anchor bfloat16', 10): [1.5],
    }
    ratios = {name: values['ratio'] for name, values in entries(times).items()}
    expected = {'inference.fp32': 2.0, 'inference.bf16': 1.5, 'inference.default': 4.0}
    assert ratios == expected


def test_steps_needed_are_rounded_up():
    deviation = Deviation(position_mm=0.0, rotation_deg=0.0, gripper=0.0)
    assert steps_needed(Trade(deviation=deviation, steps=(1,) * 9 + (3,))) == (1, 3)


def test_images_are_prepared_within_a_grey_level_of_pillow():
    assert preprocess()['grey_levels'] <= 1.001
