# SPDX-License-Identifier: Apache-2.0
"""Steps on a fixed batch: the loss falls, other robots' rows stay, the shortcut is exact."""

import numpy as np
import pytest
import torch

from xvla_ros.adapt.forward import act, encode
from xvla_ros.adapt.initialisation import set_scales
from xvla_ros.adapt.mixture import grid_cells, Mixture
from xvla_ros.adapt.optimisation import Optimiser, RunningMean, Schedule
from xvla_ros.adapt.samples import create_samples, SampleLayout
from xvla_ros.adapt.small_network import (
    COLOURS,
    demo_config,
    demo_tokenizer,
    IMAGE_SIDE,
    instructions,
    SPECIAL_TOKENS,
    VOCABULARY,
)
from xvla_ros.adapt.training import anchor_errors_mm, new_student, policy_loss, tower_loss
from xvla_ros.model.processor import ImageProcessor, TextProcessor
from xvla_ros.model.xvla import build_network

TABLES = ('soft_prompt_hub.weight', 'action_encoder.fc.weight', 'action_decoder.bias.weight')


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


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


@pytest.fixture
def mixture(sources):
    text = TextProcessor(demo_tokenizer(), demo_config().text_length)
    images = ImageProcessor((IMAGE_SIDE, IMAGE_SIDE))
    pairs = [(samples, np.arange(len(samples))) for samples in sources]
    return Mixture(pairs, text, images, demo_config().view_slots, seed=0)


@pytest.fixture
def student(sources):
    network = build_network(demo_config(), seed=0, attention='eager')
    set_scales(network.transformer, sources, 30, seed=0)
    return new_student(network, seed=0)


def same_noise(student, batch, loss_of=policy_loss):
    student.generator.manual_seed(1)
    return loss_of(student, batch)


def test_steps_lower_the_loss_of_a_fixed_batch_and_leave_other_rows_alone(student, mixture):
    batch = mixture.draw(6)
    network, frozen = student.network, [1, 3]
    tables = {n: p for n, p in network.named_parameters() if n.endswith(TABLES)}
    before = {name: p.detach().clone() for name, p in tables.items()}
    mean = RunningMean(network)
    optimiser = Optimiser(network, Schedule(steps=4, warmup_steps=1), student.heads.parameters())
    heads = [p.detach().clone() for p in student.heads.parameters()]
    first = same_noise(student, batch).item()
    for _ in range(4):
        optimiser.step(same_noise(student, batch))
        mean.update(network)
    for old, new in zip(heads, student.heads.parameters(), strict=True):
        assert not torch.equal(old, new), 'the grounding heads are trained with the network'
    assert same_noise(student, batch).item() < first
    assert len(tables) == len(TABLES)
    for name, p in tables.items():
        assert torch.equal(p[frozen], before[name][frozen])
        assert torch.equal(mean.state[name][frozen], before[name][frozen])
        assert not torch.equal(p[[0, 2]], before[name][[0, 2]])


def test_one_step_lowers_the_loss_of_the_vision_tower(student, mixture):
    batch = mixture.draw(4)
    optimiser = Optimiser(student.network, Schedule(steps=10), student.heads.parameters())
    first = same_noise(student, batch, tower_loss)
    optimiser.step(first)
    assert same_noise(student, batch, tower_loss) < first


def test_the_forward_pass_of_training_is_the_networks(student, mixture):
    batch, network = mixture.draw(5), student.network
    noisy, t = torch.randn(5, 30, 20), torch.rand(5)
    pixels = torch.zeros(*batch.mask.shape, 3, IMAGE_SIDE, IMAGE_SIDE)
    pixels[batch.mask] = batch.pixels
    with torch.no_grad():
        _, encoded, auxiliary = encode(network, batch)
        ours = act(network, batch, encoded, auxiliary, noisy, t)
        full = network(batch.tokens, pixels, batch.mask, batch.proprio, batch.domain, noisy, t)
    torch.testing.assert_close(ours, full, atol=1e-5, rtol=1e-5)


def test_every_robot_has_its_share_and_the_same_seed_the_same_batches(mixture, sources):
    again = Mixture(
        mixture.sources, mixture_text(), ImageProcessor((IMAGE_SIDE, IMAGE_SIDE)), 3, seed=0
    )
    one, two = mixture.draw(7), again.draw(7)
    assert sorted(np.bincount(one.domain.numpy()).tolist()) == [0, 3, 4]
    assert torch.equal(one.pixels, two.pixels)
    assert torch.equal(one.tokens, two.tokens)


def mixture_text():
    return TextProcessor(demo_tokenizer(), demo_config().text_length)


def test_a_fresh_policy_starts_at_its_robots_mean(student, mixture):
    errors = anchor_errors_mm(student, mixture.draw(8))
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
    schedule = Schedule(steps=1000, learning_rate=1e-3, warmup_steps=100, falling=0.3)
    rates = [schedule.rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[100] == rates[699] == 1e-3
    assert rates[850] == pytest.approx(5e-4)
    assert rates[1000] == 0.0
