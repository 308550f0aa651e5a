# SPDX-License-Identifier: Apache-2.0
"""Steps on a fixed batch: the loss falls, other robots' rows stay, the shortcut is exact."""

import dataclasses

import numpy as np
import pytest
import torch

from xvla_ros.adapt.demo.demo_policy import DESCENT
from xvla_ros.adapt.demo.demo_policy import mixture as draw_from
from xvla_ros.adapt.demo.initialisation import set_scales
from xvla_ros.adapt.demo.mixture import grid_cells
from xvla_ros.adapt.demo.objectives import (
    anchor_errors_mm,
    FIND,
    new_student,
    OBJECTIVES,
    policy_loss,
    Recipe,
)
from xvla_ros.adapt.demo.samples import create_samples, SampleLayout
from xvla_ros.adapt.demo.small_network import (
    COLOURS,
    demo_config,
    demo_tokenizer,
    IMAGE_SIDE,
    instructions,
    SPECIAL_TOKENS,
    VOCABULARY,
)
from xvla_ros.adapt.trainer.arithmetic import invented_batch
from xvla_ros.adapt.trainer.batches import Batch, Sampler
from xvla_ros.adapt.trainer.forward import act, encode
from xvla_ros.adapt.trainer.stages import Rate
from xvla_ros.adapt.trainer.trainer import Trainer
from xvla_ros.model.xvla import build_network

TABLES = ('soft_prompt_hub.weight', 'action_encoder.fc.weight', 'action_decoder.bias.weight')


def invented(path, domain, views):
    """Return samples with random contents: only shapes matter here."""
    layout = SampleLayout(
        robot='any', domain_id=domain, count=8, views=views, colours=3, anchors=30, side=IMAGE_SIDE
    )
    samples, random = create_samples(path, layout), np.random.default_rng(domain)
    for index in range(len(samples)):
        samples.write(
            index,
            {
                'images': random.integers(0, 255, (views, IMAGE_SIDE, IMAGE_SIDE, 3)),
                'proprio': random.normal(0.3, 0.05, 20),
                'actions': random.uniform(0.2, 0.5, (3, 30, 20)),
                'pixels': random.uniform(-0.2, 1.2, (views, 3, 2)),
                'blocks': random.uniform(0, 0.5, (3, 3)),
                'scene': index // 2,
            },
        )
    return samples


@pytest.fixture
def sources(tmp_path):
    return [invented(tmp_path / 'one', 0, 2), invented(tmp_path / 'two', 2, 3)]


def pairs(sources):
    return [(samples, np.arange(len(samples))) for samples in sources]


@pytest.fixture
def mixture(sources):
    return draw_from(pairs(sources), seed=0, batch=6)


@pytest.fixture
def student(sources):
    network = build_network(demo_config(), seed=0, attention='eager')
    set_scales(network.transformer, sources, 30, seed=0)
    return new_student(network, seed=0)


class Again:
    """A source that always draws the same batch."""

    def __init__(self, batch):
        self.batch = batch

    def draw(self, step):
        return self.batch

    def facts(self):
        return {}


def same_noise(student, batch, loss_of=policy_loss):
    losses = loss_of(student, batch, torch.Generator().manual_seed(1))
    return sum(losses.values()).item()


def trained(student, batch, recipe):
    trainer = Trainer(student, Again(batch), recipe.plan(), DESCENT, objectives=OBJECTIVES)
    trainer.run(lambda step: None)
    return trainer


def test_steps_lower_the_loss_of_a_fixed_batch_and_leave_other_rows_alone(student, mixture):
    batch, network, frozen = mixture.draw(0), student.network, [1, 3]
    tables = {n: p for n, p in network.named_parameters() if n.endswith(TABLES)}
    before = {name: p.detach().clone() for name, p in tables.items()}
    heads = [p.detach().clone() for p in student.heads.parameters()]
    first = same_noise(student, batch)
    recipe = Recipe(tower_steps=0, grounding_steps=1, policy_steps=4)
    trainer = trained(student, batch, recipe)
    for old, new in zip(heads, student.heads.parameters(), strict=True):
        assert not torch.equal(old, new), 'the grounding heads are trained with the network'
    assert same_noise(student, batch) < first
    assert len(tables) == len(TABLES)
    for name, p in tables.items():
        assert torch.equal(p[frozen], before[name][frozen])
        assert torch.equal(trainer.mean.state[name][frozen], before[name][frozen])
        assert not torch.equal(p[[0, 2]], before[name][[0, 2]])


def test_steps_lower_the_loss_of_the_vision_tower(student, mixture):
    batch = mixture.draw(0)
    first = same_noise(student, batch, OBJECTIVES[FIND])
    trained(student, batch, Recipe(tower_steps=3, grounding_steps=0, policy_steps=0))
    assert same_noise(student, batch, OBJECTIVES[FIND]) < first


def test_the_forward_pass_of_training_is_the_networks(student, mixture):
    batch, network = mixture.draw(0), student.network
    noisy, t = torch.randn(6, 30, 20), torch.rand(6)
    pixels = torch.zeros(*batch.mask.shape, 3, IMAGE_SIDE, IMAGE_SIDE)
    pixels[batch.mask] = batch.pixels
    with torch.no_grad():
        encoded, auxiliary = encode(network, batch)
        ours = act(network, batch, encoded, auxiliary, noisy, t)
        full = network(batch.tokens, pixels, batch.mask, batch.proprio, batch.domain, noisy, t)
    torch.testing.assert_close(ours, full, atol=1e-5, rtol=1e-5)


def test_every_robot_has_its_share_and_the_same_seed_the_same_batches(sources):
    one, two = (draw_from(pairs(sources), seed=0, batch=7) for _ in range(2))
    for step in (3, 0):
        first, second = one.draw(step), two.draw(step)
        assert sorted(np.bincount(first.domain.numpy()).tolist()) == [0, 3, 4]
        assert torch.equal(first.pixels, second.pixels)
        assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(one.draw(0).pixels, one.draw(1).pixels)


@pytest.mark.parametrize('sizes', [(5,), (4, 7), (3, 8, 9)])
def test_every_sample_comes_once_before_any_comes_again(sizes):
    sampler = Sampler(sizes, batch=5, seed=3)
    for source, size in enumerate(sizes):
        drawn = np.concatenate([sampler.draw(step)[source] for step in range(40)])
        for epoch in range(len(drawn) // size):
            whole = drawn[epoch * size : (epoch + 1) * size]
            assert sorted(whole.tolist()) == list(range(size))


def test_the_invented_batch_is_like_a_drawn_one(mixture):
    drawn, invented = mixture.draw(0), invented_batch(6)
    for field in dataclasses.fields(Batch):
        one, other = getattr(drawn, field.name), getattr(invented, field.name)
        if one is None:
            assert other is None
            continue
        assert one.dtype == other.dtype, field.name
        assert one.shape[1:] == other.shape[1:], field.name


def test_a_fresh_policy_starts_at_its_robots_mean(student, mixture):
    errors = anchor_errors_mm(student, mixture.draw(0), seed=0)
    assert set(errors) == {0, 2}
    assert all(mean < 400 for mean, _ in errors.values())


def test_cells_of_points_in_and_out_of_view():
    cells, offsets = grid_cells(
        np.array([[0.0, 0.0], [0.999, 0.0], [0.5, 0.25], [1.2, 0.1], [np.nan, 0]])
    )
    assert cells.tolist() == [0, 5, 9, -1, -1]
    np.testing.assert_allclose(offsets[2], [0.0, 0.5], atol=1e-6)


def test_the_tokenizer_knows_every_word_and_frames_as_bart_does():
    tokenizer = demo_tokenizer()
    assert tokenizer.get_vocab_size() <= VOCABULARY
    assert [tokenizer.id_to_token(i) for i in range(4)] == list(SPECIAL_TOKENS)
    for colour in COLOURS:
        for text in instructions(colour):
            ids = tokenizer.encode(text).ids
            assert ids[0] == 0
            assert ids[-1] == 2
            assert 3 not in ids
    assert (
        tokenizer.encode('Pick up the RED block!').ids
        == tokenizer.encode('pick up the red block').ids
    )
    assert 3 in tokenizer.encode('fold the towel').ids


def test_the_learning_rate_rises_stays_and_falls():
    rate = Rate(peak=1e-3, warmup=100, falling=0.3)
    rates = [rate.at(step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[100] == rates[699] == 1e-3
    assert rates[850] == pytest.approx(5e-4)
    assert rates[1000] == 0.0
