# SPDX-License-Identifier: Apache-2.0
"""
A checkpoint's statistics are applied as LeRobot applies them.

The processor files and answers in data/lerobot are LeRobot's own (0.4.4, written by
bench/reference_processors.py).
"""

import json
from pathlib import Path
import shutil

import numpy as np
import pytest

from xvla_ros.core.errors import CheckpointError, ObservationError
from xvla_ros.model import load_policy
from xvla_ros.model.conversion import convert
from xvla_ros.testing.miniature import noise, observation, write_small

DATA = Path(__file__).parent / 'data' / 'lerobot'
MODES = ('MEAN_STD', 'MIN_MAX', 'QUANTILES', 'QUANTILE10', 'IDENTITY')
NUMBERS = {'action_mode': 'auto', 'max_action_dim': 20, 'real_action_dim': 6}


@pytest.fixture(scope='session')
def plain(tmp_path_factory):
    """Return a joint-space checkpoint without statistics."""
    return write_small(tmp_path_factory.mktemp('plain'), **NUMBERS)


def with_statistics(plain, folder, mode):
    """Copy a checkpoint and put LeRobot's processor files of a mode beside it."""
    shutil.copytree(plain, folder)
    for file in (DATA / mode.lower()).glob('policy_*'):
        shutil.copy(file, folder / file.name)
    change(folder / 'config.json', normalization_mapping={'STATE': mode, 'ACTION': mode})
    return folder


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def close(found, expected):
    """Equal to 1e-5 of the largest number (at least 1): float32 has 7 digits of degrees."""
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize('mode', MODES)
def test_the_maps_are_those_of_lerobots_processors(plain, tmp_path, mode):
    policy = load_policy(with_statistics(plain, tmp_path / 'there', mode))
    answers = np.load(DATA / mode.lower() / 'answers.npz')
    padded = np.zeros((5, 20), np.float32)
    padded[:, :6] = answers['state']
    found = policy.normalisation.of_state(padded)
    # A joint that never moved has a standard deviation or a range of zero: LeRobot divides by
    # 1e-8 there, and float32 has no digits left.
    moving = np.abs(answers['normalised']) < 1e6
    close(np.where(moving, found[:, :6], 0), np.where(moving, answers['normalised'], 0))
    np.testing.assert_allclose(found[:, :6], answers['normalised'], rtol=1e-5, atol=1e-4)
    assert not found[:, 6:].any()
    close(policy.normalisation.restored(answers['action']), answers['restored'])


@pytest.mark.parametrize('mode', MODES)
def test_a_prediction_is_lerobots_pre_and_postprocessing_around_the_network(plain, tmp_path, mode):
    bare, policy = load_policy(plain), load_policy(with_statistics(plain, tmp_path / 'to', mode))
    answers = np.load(DATA / mode.lower() / 'answers.npz')
    seen = observation() | {'proprio': np.zeros(20, np.float32)}
    inside = seen | {'proprio': np.zeros(20, np.float32)}
    seen['proprio'][:6] = answers['state'][0]
    inside['proprio'][:6] = answers['normalised'][0]
    found = policy.predict(**seen, noise=noise(policy))
    expected = bare.predict(**inside, noise=noise(bare))
    if mode != 'IDENTITY':
        stored = policy.normalisation.action
        expected = expected * stored.factor + stored.shift
    close(found, expected)


@pytest.mark.parametrize('mode', MODES[:-1])
def test_a_prefix_is_in_the_datasets_units(plain, tmp_path, mode):
    policy = load_policy(with_statistics(plain, tmp_path / 'to', mode))
    free = policy.predict(**observation(), noise=noise(policy))
    held = policy.predict(**observation(), noise=noise(policy), prefix=free[:3])
    np.testing.assert_array_equal(held[:3], free[:3])
    moving = policy.normalisation.action.factor > 1.0
    again = policy.normalisation.of_actions(free)
    close(policy.normalisation.restored(again)[:, moving], free[:, moving])


def test_a_tolerance_in_millimetres_is_refused_for_normalised_actions(plain, tmp_path):
    policy = load_policy(with_statistics(plain, tmp_path / 'to', 'MEAN_STD'))
    with pytest.raises(ObservationError, match=r'normalised \(MEAN_STD\)'):
        policy.predict(**observation(), tolerance=(1.0, 1.0))


@pytest.mark.parametrize('layout', ['2toinf', 'lerobot', 'native'])
def test_a_conversion_keeps_the_statistics(plain, tmp_path, layout):
    source = with_statistics(plain, tmp_path / 'from', 'QUANTILES')
    convert(source, tmp_path / 'to', layout)
    before, after = load_policy(source), load_policy(tmp_path / 'to')
    given = {**observation(), 'noise': noise(before)}
    np.testing.assert_array_equal(after.predict(**given), before.predict(**given))


def refused(folder, words):
    with pytest.raises(CheckpointError, match=words):
        load_policy(folder)


def test_statistics_that_are_missing_or_contradict_are_refused(plain, tmp_path):
    folder = with_statistics(plain, tmp_path / 'to', 'MEAN_STD')
    change(folder / 'config.json', normalization_mapping={'STATE': 'MEAN_STD'})
    refused(folder, r'postprocessor.json: says MEAN_STD, but config.json .*ACTION IDENTITY')
    change(folder / 'config.json', normalization_mapping={'STATE': 'X', 'ACTION': 'MEAN_STD'})
    refused(folder, r'preprocessor.json: says MEAN_STD, but .*STATE X')
    change(folder / 'config.json', normalization_mapping=dict.fromkeys(('STATE', 'ACTION'), 'X'))
    (folder / 'policy_preprocessor.json').unlink()
    refused(folder, r'policy_preprocessor.json: missing, but')


def test_a_lost_file_of_statistics_is_named(plain, tmp_path):
    folder = with_statistics(plain, tmp_path / 'to', 'MEAN_STD')
    file = next(folder.glob('policy_postprocessor_*.safetensors'))
    kept = file.read_bytes()
    file.write_bytes(kept[:-9])
    refused(folder, f'{file.name}: cut')
    file.unlink()
    refused(folder, f'{file.name}: missing')


def test_statistics_of_another_action_are_refused(tmp_path):
    other = write_small(tmp_path / 'seven', **(NUMBERS | {'real_action_dim': 7}))
    refused(with_statistics(other, tmp_path / 'to', 'MIN_MAX'), 'of 6 action numbers, expected 7')


def test_a_step_that_is_not_known_is_refused(plain, tmp_path):
    folder = with_statistics(plain, tmp_path / 'to', 'MIN_MAX')
    file = folder / 'policy_postprocessor.json'
    steps = json.loads(file.read_text())['steps']
    change(file, steps=[*steps, {'registry_name': 'absolute_actions_processor'}])
    refused(folder, "step 'absolute_actions_processor' is not known")
