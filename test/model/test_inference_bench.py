# SPDX-License-Identifier: Apache-2.0
"""The figures of the inference benchmark mean what they say."""

import pytest
import torch

from bench import inference_bound, inference_gpu
from bench.gpu import measure
from bench.inference import entries, entry, exact, preprocess, tuned
from bench.inference_bound import work
from bench.knobs import steps_needed, Trade
from xvla_ros.model import load_policy
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
    assert steps_needed(Trade(deviation=deviation, steps=(1,) * 9 + (3,))) == 3


def test_images_are_prepared_within_a_grey_level_of_pillow():
    assert preprocess()['grey_levels'] <= 1.001


def test_the_work_of_a_chunk_is_what_its_layers_multiply():
    """24 blocks of 12 * 1024^2 weights at 262 tokens (30 in the last), attention, and the rest."""
    step = work(2) - work(1)
    blocks = 23 * 2 * 262 * 12 * 1024**2 + 23 * 4 * 262**2 * 1024
    assert 0.97 * blocks < step < 1.05 * blocks


def test_the_floor_is_that_work_at_the_rate_of_the_packed_layers():
    found = inference_bound.run()['inference.floor_fp32']
    if 'skipped' not in found:
        seconds = found['teraflops'] * 1e3 / found['gigaflops_per_second']
        assert found['ours'] == pytest.approx(seconds * 1e3, rel=1e-2)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU: make bench measures it')
def test_without_a_gpu_nothing_is_said_of_one(tmp_path):
    assert inference_gpu.run(tmp_path) == {}


def test_float32_on_a_gpu_would_not_be_tf32():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        assert measure.uses_tf32() == ['convolutions']
        load_policy('demo_policy')
        assert measure.uses_tf32() == []
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_the_prepared_gpu_script_says_what_it_needs(capsys):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    assert measure.main() == 1
    assert 'needs an NVIDIA GPU' in capsys.readouterr().out


def test_exact_takes_the_faster_dtype_and_int8_stands_alone():
    times = {('anchor float32', 10): [8.0], ('float32', 10): [4.0], ('bfloat16', 10): [2.0]}
    found = exact(times | {('int8', 10): [1.0]})
    assert (found['inference.exact']['ratio'], found['inference.exact']['dtype']) == (
        4,
        'bfloat16',
    )
    assert found['inference.int8']['ratio'] == 8
    assert 'skipped' in exact(times)['inference.int8']


def test_a_tuned_figure_needs_the_bound():
    near = {'ratio': 9.0, 'deviation_mm': 0.6, 'deviation_deg': 0.1}
    assert tuned(near) is near
    assert 'skipped' in tuned(near | {'deviation_mm': 1.1})
    assert 'skipped' in tuned({'skipped': 'no bfloat16'})
