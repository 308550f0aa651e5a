# SPDX-License-Identifier: Apache-2.0
"""The benchmark of training measures what it says, at toy size and without lerobot."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import adapt, adapt_data
from bench.adapt_steps import OurTraining, their_batch, write_checkpoints
from bench.reference_environment import MissingReferenceError


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    return write_checkpoints(tmp_path_factory.mktemp('bench'))


def test_a_frozen_step_trains_prompts_and_heads_and_runs_no_encoder(checkpoints):
    training = OurTraining(checkpoints[0], 'frozen', torch.float32, batch=2)
    network = training.network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with_images = len(training.batch.pixels)
    assert min(training.step()) > 0
    training.close()
    assert with_images == 4
    assert len(training.source.batch.pixels) == 0
    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert {name.split('.')[1] for name in moved} == {
        'soft_prompt_hub',
        'action_encoder',
        'action_decoder',
    }


def test_a_step_trains_every_part(checkpoints):
    training = OurTraining(checkpoints[0], 'all', torch.float32, batch=2)
    network = training.network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    training.step()
    training.close()
    moved = {n.split('.')[1] for n, p in network.named_parameters() if (p != before[n]).any()}
    assert {'vision_tower', 'language_model', 'blocks', 'soft_prompt_hub'} <= moved
    assert training.trained == sum(p.numel() for p in network.parameters())


def test_lerobot_gets_the_same_batch_by_its_own_names(checkpoints):
    training = OurTraining(checkpoints[0], 'all', torch.float32, batch=3)
    batch, theirs = training.batch, their_batch(training.batch)
    training.close()
    views = [theirs['observation.images.image'], theirs['observation.images.image2']]
    np.testing.assert_array_equal(np.stack(views, axis=1).reshape(6, 3, 96, 96), batch.pixels)
    assert set(theirs) - {'observation.images.image', 'observation.images.image2'} == {
        'observation.language.tokens',
        'observation.state',
        'action',
        'domain_id',
    }
    for name, values in (('action', batch.actions), ('domain_id', batch.domain)):
        np.testing.assert_array_equal(theirs[name], values)


def test_without_lerobot_figures_have_no_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(adapt_data, 'WIDTH', 128)
    monkeypatch.setattr(adapt_data, 'HEIGHT', 96)
    found = adapt.steps(tmp_path, None, rounds=1, batch=2)
    found |= adapt.data(tmp_path, None, rounds=1, episodes=2)
    assert set(found) == {'adapt.step', 'adapt.frozen_step', 'adapt.data'}
    for values in found.values():
        assert values['ours'] > 0
        assert not {'anchor', 'ratio', 'ratio_cpu', 'ratio_like_for_like'} & set(values)
    assert found['adapt.data']['later'] > found['adapt.data']['ours']


def test_a_missing_lerobot_is_one_line(tmp_path, monkeypatch, capsys):
    def nowhere(*options):
        raise MissingReferenceError('no package index answered')

    monkeypatch.setattr(adapt, 'make_reference', nowhere)
    monkeypatch.setattr(adapt, 'steps', lambda folder, python: {'python': python})
    monkeypatch.setattr(adapt, 'data', lambda folder, python: {})
    assert adapt.run(tmp_path / 'bench') == {'python': None}
    assert 'lerobot is left out: no package index answered' in capsys.readouterr().err


def test_a_lerobot_that_does_not_start_is_one_line(tmp_path, capsys):
    with adapt.reference(Path('/bin/false'), tmp_path / 'log', 'read') as theirs:
        assert theirs is None
    assert f'lerobot is left out: lerobot stopped, see {tmp_path}' in capsys.readouterr().err


def test_ffmpeg_is_found_by_the_names_that_torchcodec_asks_for(tmp_path):
    bundled = tmp_path / 'lib' / 'python3.11' / 'site-packages' / 'av.libs'
    bundled.mkdir(parents=True)
    for name in ('libavcodec-7ee0753d.so.61.19.101', 'libz-1a2b3c4d.so.1.3', 'README'):
        (bundled / name).write_text(name)
    named, after = adapt.ffmpeg_folders(tmp_path / 'bin' / 'python')
    assert after == bundled
    links = {path.name: path.read_text() for path in named.iterdir()}
    assert links['libavcodec.so.61'] == 'libavcodec-7ee0753d.so.61.19.101'
    assert adapt.ffmpeg_folders(tmp_path / 'elsewhere' / 'bin' / 'python') == []


def test_those_who_are_asked_take_turns():
    order, names = [], ('ours', 'theirs')
    askers = {name: lambda name=name: order.append(name) or (1.0, 2.0) for name in names}
    assert adapt.in_turns(askers, 2) == dict.fromkeys(names, [(1.0, 2.0)] * 2)
    assert order == ['ours', 'theirs'] * 4


def test_a_ratio_above_one_is_better_for_us():
    times = {'all': [(1.0, 0.5)] * 3, 'lerobot all': [(3.0, 1.0), (2.0, 1.0), (9.0, 1.0)]}
    found = adapt.figure(times, 'all', 'lerobot all')
    assert (found['ours'], found['anchor'], found['ratio']) == (1000.0, 3000.0, 3.0)
    assert (found['cpu'], found['ratio_cpu']) == (500.0, 2.0)
