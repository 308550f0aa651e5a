# SPDX-License-Identifier: Apache-2.0
"""The experiment on soft prompts at toy size: four ways that differ as they say, and resume."""

import json

import numpy as np
import pytest

from bench.miniature import __main__ as experiment
from bench.miniature.adapting import Adapting
from bench.miniature.figure import projection
from bench.miniature.size import Place, TOY
from bench.miniature.ways import plan_of, WAYS
from xvla_ros.core.errors import ConfigError


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('miniature')
    return Place(out=folder / 'out', samples=folder / 'samples', limit_s=0.3)


@pytest.fixture(scope='module')
def result(place):
    return experiment.run(TOY, place)


def prompts(result, way):
    return np.array([look['prompts'] for look in result['ways'][way]])


def test_all_ways_are_looked_at_after_the_same_steps(result):
    assert set(result['ways']) == set(WAYS)
    for looks in result['ways'].values():
        assert [look['step'] for look in looks] == [0, 1, 2]
        assert [look['trials'] for look in looks] == [1, 1, 2]
        assert all(0 < look['error_mm'] < 1000 for look in looks)
        assert all(0 <= low <= high <= 1 for low, high in (x['interval'] for x in looks))


def test_ways_differ_in_their_prompts_alone(result):
    """Before training, the three of the pre-trained network have the same heads."""
    copied = np.round(result['prompts'][result['nearest']], 5)
    random, nearest, trained = (prompts(result, way) for way in WAYS[:3])
    np.testing.assert_allclose(nearest, np.tile(copied, (3, 1)), atol=1e-5)
    np.testing.assert_allclose(random, random[[0, 0, 0]])
    assert np.abs(random[0] - copied).max() > 0.01
    np.testing.assert_allclose(trained[0], copied, atol=1e-5)
    assert np.abs(trained[2] - trained[0]).max() > 1e-4


def test_frozen_prompts_have_no_rate():
    trained = {way: set().union(*(s.rates for s in plan_of(way, TOY).stages)) for way in WAYS}
    assert 'prompts' not in trained['random'] | trained['nearest']
    assert 'prompts' in trained['two-step'] & trained['scratch']
    assert {plan_of(way, TOY).steps for way in WAYS} == {TOY.steps}


def test_the_result_and_the_figure_are_left(place, result):
    stored = json.loads((place.out / 'result.json').read_text())
    assert stored['ways'].keys() == result['ways'].keys()
    assert (place.out / 'miniature.png').stat().st_size > 10_000
    lines = experiment.table(stored)
    assert len(lines) == 1 + len(WAYS)
    assert 'reached' in lines[1]


def test_a_run_that_was_stopped_ends_alike(place, result, tmp_path, monkeypatch):
    """The looks after it are the same, and those before it are not made again."""
    again = Place(
        out=tmp_path, samples=place.samples, given=place.pretrained, limit_s=place.limit_s
    )
    look, made = Adapting._look, []

    def stop_once(self, step):
        if (self.way, step) == ('nearest', 2) and not made.count((self.way, step)):
            made.append((self.way, step))
            raise KeyboardInterrupt
        made.append((self.way, step))
        look(self, step)

    monkeypatch.setattr(Adapting, '_look', stop_once)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(TOY, again)
    assert experiment.run(TOY, again)['ways'] == result['ways']
    assert made.count(('random', 2)) == made.count(('nearest', 1)) == 1


def test_a_robot_that_the_checkpoint_knows_is_refused(tmp_path, capsys):
    arguments = ['--toy', '--out', str(tmp_path), '--samples', str(tmp_path), '--dtype', 'float32']
    assert experiment.main([*arguments, '--pretrained', 'demo_policy']) == 2
    assert 'widowx (row 1) is not new' in capsys.readouterr().err


def test_an_unknown_robot_is_refused():
    with pytest.raises(ConfigError, match='nobody'):
        experiment.robots('nobody')


def test_the_map_is_the_plane_in_which_prompts_differ_most():
    random = np.random.default_rng(0)
    rows = random.normal(size=(6, 2)) @ random.normal(size=(2, 8)) + 3.0
    project = projection(list(rows))
    flat = np.array([project(row) for row in rows])
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(flat[:, None] - flat[None], axis=-1), apart)
