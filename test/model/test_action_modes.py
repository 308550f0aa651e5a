# SPDX-License-Identifier: Apache-2.0
"""Action modes: index lists, losses, what the network sees and what leaves it."""

import math

import pytest
import torch

from xvla_ros.model.action_modes import action_mode, ActionMode, MODES, register
from xvla_ros.model.config import parse_config
from xvla_ros.testing.miniature import small_json, small_network


def mode(name, **changes):
    return action_mode(parse_config(small_json(action_mode=name, **changes)))


ALL = ('ee6d', 'joint', 'agibot_ee6d', 'auto', 'franka_joint7', 'so101_bimanual')


def test_the_six_modes_are_registered():
    assert set(ALL) <= set(MODES)


@pytest.mark.parametrize(
    ('name', 'channel', 'weight'),
    [
        ('ee6d', 0, 500 / 3),
        ('ee6d', 12, 500 / 3),
        ('ee6d', 3, 10 / 6),
        ('agibot_ee6d', 1, 500 / 3),
        ('agibot_ee6d', 18, 10 / 6),
        ('agibot_ee6d', 9, 10 / 2),
        ('joint', 0, 1 / 12),
        ('auto', 2, 100 / 20),
        ('franka_joint7', 6, 1 / 7),
        ('franka_joint7', 7, 0),
        ('so101_bimanual', 0, 1 / 12 + 1 / 6),
        ('so101_bimanual', 11, 1 / 12 + 1 / 6 + 1 / 2),
        ('so101_bimanual', 12, 0),
    ],
)
def test_a_unit_error_of_one_channel_costs_its_weight(name, channel, weight):
    m = mode(name)
    target = torch.zeros(2, 6, m.dim)
    wrong = target.clone()
    wrong[..., channel] = 1.0
    cost = sum(m.loss(wrong, target).values()) - sum(m.loss(target, target).values())
    assert cost.item() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize(('name', 'weight'), [('ee6d', 1.0), ('joint', 0.1)])
def test_grippers_that_are_logits_cost_their_cross_entropy(name, weight):
    m = mode(name)
    logits, target = torch.zeros(1, 6, m.dim), torch.zeros(1, 6, m.dim)
    logits[..., m.gripper[0]] = 2.0
    expected = weight * (math.log(1 + math.exp(2.0)) + math.log(2.0)) / 2
    assert m.loss(logits, target)['gripper'].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ('name', 'hidden'), [('ee6d', (9, 19)), ('joint', (6, 13)), ('agibot_ee6d', ())]
)
def test_hidden_grippers_are_zero_in_both_inputs_and_the_caller_keeps_his(name, hidden):
    m = mode(name)
    proprio, action = torch.ones(2, m.dim), torch.ones(2, 6, m.dim)
    for seen, given in zip(m.preprocess(proprio, action), (proprio, action), strict=True):
        zeros = {i for i in range(m.dim) if (seen[..., i] == 0).all()}
        assert zeros == set(hidden)
        assert (given == 1).all()


@pytest.mark.parametrize(
    ('name', 'real'), [('auto', 7), ('franka_joint7', 7), ('so101_bimanual', 12)]
)
def test_dummy_channels_are_zero_whether_they_came_or_not(name, real):
    m = mode(name, real_action_dim=7, max_action_dim=20)
    short, long = torch.ones(1, 6, real), torch.ones(1, 6, 20)
    for given in (short, long):
        seen = m.preprocess(torch.ones(1, 20), given)[1]
        assert seen.shape == (1, 6, 20)
        assert (seen[..., real:] == 0).all()
    assert m.postprocess(long).shape == (1, 6, real)
    with pytest.raises(ValueError, match='width 9'):
        m.preprocess(torch.ones(1, 20), torch.ones(1, 6, 9))


@pytest.mark.parametrize('name', ALL)
def test_what_left_the_model_can_go_back_in(name):
    m = mode(name, real_action_dim=7, max_action_dim=20)
    raw = torch.randn(2, 6, m.dim, generator=torch.Generator().manual_seed(0))
    left = m.postprocess(raw)
    assert left.shape[-1] == m.real_dim
    assert torch.allclose(m.postprocess(m.raw(left)), left, atol=1e-5)


def test_only_logits_are_squashed():
    raw = torch.full((1, 6, 20), 3.0)
    assert mode('ee6d').postprocess(raw)[0, 0, 9].item() == pytest.approx(1 / (1 + math.exp(-3)))
    assert (mode('agibot_ee6d').postprocess(raw) == 3).all()
    assert (mode('so101_bimanual').postprocess(raw) == 3).all()
    assert (raw == 3).all()


def test_a_user_adds_a_mode_with_one_class():
    @register('one_finger')
    class OneFinger(ActionMode):
        dim = real_dim = dim_proprio = 4

    try:
        network = small_network(action_mode='one_finger')
        assert network.transformer.action_decoder.dim_out == 4
        assert network.transformer.action_encoder.dim_in == 4 + 4 + 32
    finally:
        del MODES['one_finger']
