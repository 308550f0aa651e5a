# SPDX-License-Identifier: Apache-2.0
"""
A LeRobot folder through our predictor: actions equal LeRobot's pre- and postprocessing.

Per mode, a folder as lerobot-train writes it (processor files with statistics that LeRobot 0.4.4
wrote, test/model/data/lerobot) answers in the data's units. What is expected is written out here:
LeRobot's formulas (processor/normalize_processor.py, in float32) around the bare network.
"""

import json
from pathlib import Path
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from xvla_ros.core.settings import PolicySettings
from xvla_ros.model.conversion import convert
from xvla_ros.model.lerobot_processors import processors_json
from xvla_ros.runtime.predictor import make_predictor
from xvla_ros.testing.miniature import noise, observation, write_small

DATA = Path(__file__).parents[1] / 'model' / 'data' / 'lerobot'
NUMBERS = {'action_mode': 'auto', 'max_action_dim': 20, 'real_action_dim': 6}
EPS = np.float32(1e-8)
MODES = ('MEAN_STD', 'MIN_MAX', 'QUANTILES', 'QUANTILE10', 'IDENTITY')
ENDS = {'MIN_MAX': ('min', 'max'), 'QUANTILES': ('q01', 'q99'), 'QUANTILE10': ('q10', 'q90')}
STATE = np.array([12.0, -40.0, 55.0, 3.0, -70.0, 20.0], np.float32)  # degrees, as an SO-101's


@pytest.fixture(scope='module', params=['lerobot', 'native'])
def bare(request, tmp_path_factory):
    """Return a joint-space checkpoint in LeRobot's form, without statistics."""
    folder = tmp_path_factory.mktemp(request.param)
    convert(write_small(folder / 'small', **NUMBERS), folder / 'bare', request.param)
    return folder / 'bare'


def trained(bare, folder, mode):
    """Return a run's folder: whole pipelines, and the normalising steps with their statistics."""
    inner = folder / 'checkpoints' / 'last' / 'pretrained_model'
    shutil.copytree(bare, inner)
    config = json.loads((inner / 'config.json').read_text())
    config['normalization_mapping'] = {'VISUAL': 'IDENTITY', 'STATE': mode, 'ACTION': mode}
    (inner / 'config.json').write_text(json.dumps(config))
    for name, pipeline in processors_json(config, 1).items():
        (stored,) = json.loads((DATA / mode.lower() / name).read_text())['steps']
        steps = pipeline['steps']
        place = [step['registry_name'] for step in steps].index(stored['registry_name'])
        steps[place] = stored
        (inner / name).write_text(json.dumps(pipeline))
        shutil.copy(DATA / mode.lower() / stored['state_file'], inner)
    return folder


def statistics(mode, feature):
    (file,) = (DATA / mode.lower()).glob('policy_preprocessor*.safetensors')
    begin = f'{feature}.'
    return {n.removeprefix(begin): v for n, v in load_file(file).items() if n.startswith(begin)}


def normalised(state, mode):
    """LeRobot's `_apply_transform`, forward."""
    found = statistics(mode, 'observation.state')
    if mode == 'IDENTITY':
        return state
    if mode == 'MEAN_STD':
        return (state - found['mean']) / (found['std'] + EPS)
    low, high = (found[end] for end in ENDS[mode])
    width = np.where(high == low, EPS, high - low)
    return 2 * (state - low) / width - 1


def restored(actions, mode):
    """LeRobot's `_apply_transform`, inverse."""
    found = statistics(mode, 'action')
    if mode == 'IDENTITY':
        return actions
    if mode == 'MEAN_STD':
        return actions * found['std'] + found['mean']
    low, high = (found[end] for end in ENDS[mode])
    width = np.where(high == low, EPS, high - low)
    return (actions + 1) / 2 * width + low


@pytest.mark.parametrize('mode', MODES)
def test_actions_are_lerobots_own_to_a_hundred_thousandth(bare, tmp_path, mode):
    # A joint that never moved is divided by 1e-8: put it where it is in the data.
    still = statistics(mode, 'observation.state')
    state = np.where(still['std'] < 1e-6, still['mean'], STATE).astype(np.float32)
    answers = []
    for folder, told in ((bare, normalised(state, mode)), (trained(bare, tmp_path, mode), state)):
        settings = PolicySettings(checkpoint=str(folder), domain_id=1, anchor_period_s=1 / 30)
        predictor, facts = make_predictor(settings)
        proprio = np.zeros(20, np.float32)
        proprio[:6] = told
        seen = observation() | {'proprio': proprio, 'noise': noise(predictor)}
        answers.append(predictor.predict(**seen))
        assert facts.dim_action == 6
    expected = restored(answers[0], mode)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(answers[1], expected, rtol=0, atol=1e-5 * scale)
