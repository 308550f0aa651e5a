# SPDX-License-Identifier: Apache-2.0
"""The sampler's schedule and its measure of distance."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from xvla_ros.core.rotations import matrix_to_rotate6d
from xvla_ros.core.warm_start import shifted_plan
from xvla_ros.model.action_modes import action_mode
from xvla_ros.model.config import parse_config
from xvla_ros.model.head import time_embedding
from xvla_ros.model.sampler import deviation, flow_times, sample, stratified_times
from xvla_ros.testing.miniature import small_json


@pytest.fixture(scope='module')
def mode():
    return action_mode(parse_config(small_json()))


def test_times_fall_from_one_to_one_step():
    assert flow_times(4) == (1.0, 0.75, 0.5, 0.25)
    assert flow_times(2, 0.5) == (0.5, 0.25)


def test_the_same_noise_is_mixed_with_the_newest_prediction(mode):
    """x_t = t * noise + (1 - t) * action, from action = 0 (X-VLA generate_actions)."""
    noise, seen = torch.randn(1, 6, 20), []

    def predict(noisy, index):
        seen.append(noisy)
        return torch.full_like(noise, index + 1.0)

    action, used = sample(predict, noise, flow_times(4), mode)
    assert used == 4
    assert (action == 4).all()
    for index, (t, noisy) in enumerate(zip(flow_times(4), seen, strict=True)):
        assert torch.allclose(noisy, t * noise + (1 - t) * index)


def test_training_times_are_stratified():
    times = stratified_times(8, torch.Generator().manual_seed(0))
    assert times.shape == (8,)
    assert ((times * 8).floor().sort().values == torch.arange(8)).all()


def test_the_time_embedding_is_cosines_then_sines_of_unscaled_time():
    emb = time_embedding(torch.tensor([0.3]), 32)[0]
    expected = [math.cos(0.3 * math.exp(-math.log(100) * k / 16)) for k in range(16)]
    assert torch.allclose(emb[:16], torch.tensor(expected), atol=1e-6)
    assert torch.allclose(emb[:16] ** 2 + emb[16:] ** 2, torch.ones(16))


@pytest.mark.parametrize('layout', ['interleaved', 'contiguous'])
@pytest.mark.parametrize('degrees', [0.1, 1.0, 20.0])
def test_the_rotation_bound_holds_in_both_layouts(mode, layout, degrees):
    generator = np.random.default_rng(0)
    for _ in range(50):
        base = Rotation.random(random_state=generator)
        axis = generator.standard_normal(3)
        turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis))
        chunks = torch.zeros(2, 1, 20)
        for chunk, rotation in zip(chunks, (base, turn * base), strict=True):
            six = matrix_to_rotate6d(rotation.as_matrix(), layout)
            chunk[0, 3:9] = torch.from_numpy(np.asarray(six)).float()
        bound = deviation(chunks[0], chunks[1], mode).rotation_deg
        assert degrees * 0.999 - 0.01 <= bound <= degrees * 1.5 + 0.1


def test_positions_are_millimetres_and_grippers_probabilities(mode):
    a, b = torch.zeros(6, 20), torch.zeros(6, 20)
    b[3, 10:13] = torch.tensor([0.003, 0.0, 0.004])
    b[2, 9] = 50.0
    found = deviation(a, b, mode)
    assert found.position_mm == pytest.approx(5.0)
    assert found.gripper == pytest.approx(0.5)
    assert found.rotation_deg == 0.0


def test_a_shifted_plan_is_read_at_the_later_observations_anchors():
    chunk = np.arange(5, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    assert np.array_equal(shifted_plan(chunk, 0.0, 0.1), chunk)
    late = shifted_plan(chunk, 0.15, 0.1)
    assert np.allclose(late[:, 0], [1.5, 2.5, 3.5, 4.0, 4.0])
    assert np.array_equal(shifted_plan(chunk, 9.0, 0.1), np.full((5, 3), 4.0, np.float32))
