# SPDX-License-Identifier: Apache-2.0
"""`xvla joints` writes tables that say what LeRobot's formulas say."""

import json
import math

import pytest
import yaml

from xvla_ros.core.resources import shared_file
from xvla_ros.tools.cli import main

WIDOWX = shared_file('resource', 'robots/widowx.urdf')
MOTORS = {
    'shoulder_pan': {'id': 1, 'drive_mode': 0, 'homing_offset': 7, 'range_min': 800},
    'elbow_flex': {'id': 2, 'drive_mode': 1, 'homing_offset': -7, 'range_min': 901},
    'gripper': {'id': 6, 'drive_mode': 0, 'homing_offset': 0, 'range_min': 2000},
}
for _motor in MOTORS.values():
    _motor['range_max'] = 3000


def written(capsys, *arguments):
    assert main(['joints', *map(str, arguments)]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def refused(capsys, *arguments):
    assert main(['joints', *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_table_by_unit_and_urdf(capsys):
    found = written(
        capsys, '--urdf', WIDOWX, '--unit', 'deg', '--joints', 'waist,shoulder,elbow',
        '--flip', 'shoulder', '--zero', f'elbow={math.pi / 2}',
    )  # fmt: skip
    waist, shoulder, elbow = found['joints'].values()
    assert (waist['ros_name'], waist['model_index']) == ('waist', 0)
    assert waist['max_speed_rad_s'] == pytest.approx(math.pi, abs=0.01)
    assert (waist['scale'], waist['offset']) == (pytest.approx(180 / math.pi), 0.0)
    assert shoulder['scale'] == -waist['scale']
    assert elbow['offset'] == pytest.approx(-90)
    assert found['gripper'] == {'model_index': 3, 'model_closed': 0.0, 'model_open': 100.0}


def test_a_table_by_calibration(capsys, tmp_path):
    file = tmp_path / 'arm.json'
    file.write_text(json.dumps(MOTORS))
    common = ('--calibration', file, '--max-speed', 4, '--first-index', 6)
    found = written(
        capsys, *common, '--unit', 'deg', '--tick-zero', 2048, '--tick-zero', 'elbow_flex=2000'
    )
    pan, elbow = found['joints'].values()
    assert (pan['model_index'], elbow['model_index']) == (6, 7)
    assert found['gripper']['model_index'] == 8
    assert pan['offset'] == pytest.approx((2048 - 1900) * 360 / 4095)
    assert elbow['offset'] == pytest.approx((2000 - 1950.5) * 360 / 4095)
    found = written(capsys, *common, '--unit', 'range100')
    pan, elbow = found['joints'].values()
    assert (pan['scale'] > 0, elbow['scale'] > 0) == (True, False)
    found = written(capsys, *common, '--unit', 'range100', '--motors', 'dynamixel')
    assert found['joints']['elbow_flex']['scale'] > 0


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ((), 'give --urdf or --calibration'),
        (('--urdf', WIDOWX, '--joints', 'waist,nose'), 'expected each once, of waist, '),
        (('--urdf', WIDOWX, '--joints', 'waist', '--flip', 'nose'), 'no joint nose'),
        (('--urdf', WIDOWX, '--joints', 'waist', '--zero', 'waist=x'), 'expected a number'),
        (('--urdf', WIDOWX, '--joints', 'waist', '--max-speed', 99), 'give --max-speed'),
        (('--calibration', WIDOWX), 'cannot be read'),
    ],
)
def test_what_gives_no_table_is_refused(capsys, arguments, words):
    assert words in refused(capsys, '--unit', 'deg', *arguments)
