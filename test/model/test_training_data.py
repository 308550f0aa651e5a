# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says of its training data, and what `xvla inspect` prints of it."""

import json
from pathlib import Path
import shutil

import pytest

from xvla_ros.model.conversion import convert
from xvla_ros.model.inspection import inspect
from xvla_ros.testing.miniature import write_small
from xvla_ros.tools.inspect import describe

DATA = Path(__file__).parent / 'data' / 'lerobot'
NUMBERS = {'action_mode': 'auto', 'max_action_dim': 20, 'real_action_dim': 6}
VISUAL = {'type': 'VISUAL', 'shape': [3, 40, 40]}


@pytest.fixture
def there(tmp_path):
    """Return a checkpoint in lerobot's schema with two cameras and an empty one."""
    convert(write_small(tmp_path / 'small', **NUMBERS), tmp_path / 'there', 'lerobot')
    (tmp_path / 'there' / 'xvla_ros.json').unlink()  # it was not trained by LeRobot
    config = tmp_path / 'there' / 'config.json'
    names = ('observation.images.front', 'observation.images.wrist')
    features = dict.fromkeys((*names, 'observation.images.empty_camera_0'), VISUAL)
    features['observation.state'] = {'type': 'STATE', 'shape': [6]}
    change(config, input_features=features, empty_cameras=1, num_image_views=3)
    return tmp_path / 'there'


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def with_statistics(folder, mode):
    for file in (DATA / mode.lower()).glob('policy_*'):
        shutil.copy(file, folder / file.name)
    change(folder / 'config.json', normalization_mapping={'STATE': mode, 'ACTION': mode})


def test_what_a_lerobot_checkpoint_says_is_printed(there):
    with_statistics(there, 'MEAN_STD')
    (there / 'train_config.json').write_text(json.dumps({'dataset': {'repo_id': 'lab/cup'}}))
    text = describe(inspect(there))
    for words in (
        'layout lerobot, lerobot config',
        'action mode auto: 6 actions of 6 numbers',
        '3 view slots',
        'observation.state [6], action [6]',
        'cameras in order: front, wrist, then 1 empty',
        'trained on: lab/cup',
        'statistics of action: MEAN_STD (max, mean, min, q01, q10, q50, q90, q99, std)',
        'first anchor index 0: the first action is due at the stamp of its observation',
        'domain  trained',
    ):
        assert words in text, text
    assert 'WARNING' not in text


def test_wide_actions_that_are_not_normalised_are_warned_of(there):
    with_statistics(there, 'IDENTITY')
    (warning,) = inspect(there).data.warnings()
    assert 'spread by up to 60.6 and are not normalised' in warning
    assert 'at 98% of the noise levels' in warning
    assert f'WARNING: {warning}' in describe(inspect(there))


def test_a_checkpoint_in_the_authors_schema_says_nothing_of_its_data(checkpoint):
    found = inspect(checkpoint)
    assert (found.data.features, found.data.cameras, found.data.statistics) == ({}, (), {})
    assert 'first anchor index 1: the first action is due one period after' in describe(found)


def test_a_conversion_to_the_authors_schema_keeps_the_first_anchor_index(there, tmp_path):
    convert(there, tmp_path / 'back', '2toinf')
    assert inspect(tmp_path / 'back').config.first_anchor_index == 0
