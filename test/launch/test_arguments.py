# SPDX-License-Identifier: Apache-2.0
"""The arguments of the launch files, without launch: names, values, and what RViz shows."""

from pathlib import Path

import pytest

from xvla_ros.bringup import embodiment_file
from xvla_ros.bringup.arguments import (
    ARGUMENTS,
    check_names,
    DEFAULTS,
    is_top_level,
    log_level,
    OF_LAUNCH,
    overrides,
    truth,
)
from xvla_ros.bringup.viewer import absolute, rviz_config
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError

BRINGUP = Path(__file__).resolve().parents[2] / 'launch' / 'bringup.launch.py'
CHOSEN = {name: DEFAULTS.get(name, '') for name in ARGUMENTS}


@pytest.mark.parametrize('all_ours', [True, False])
@pytest.mark.parametrize(
    ('slip', 'meant'),
    [
        ('embodiemnt', 'embodiment'),
        ('emboidment', 'embodiment'),
        ('checkpont', 'checkpoint'),
        ('instructions', 'instruction'),
        ('arm', 'armed'),
        ('name_space', 'namespace'),
        ('use_simtime', 'use_sim_time'),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(slip, meant, all_ours):
    with pytest.raises(ConfigError, match=f"'{slip}'; did you mean '{meant}'"):
        check_names({slip, 'embodiment'}, ARGUMENTS, all_ours=all_ours)


def test_an_unknown_argument_is_refused_unless_it_may_be_for_another_file():
    with pytest.raises(ConfigError, match="'robot_ip'; known: embodiment, checkpoint"):
        check_names({'robot_ip'}, ARGUMENTS, all_ours=True)
    check_names({'robot_ip', 'load_gripper'}, ARGUMENTS, all_ours=False)
    check_names({*ARGUMENTS, 'limits.max_linear_speed_m_s'}, ARGUMENTS, all_ours=True)
    check_names({'sigterm_timeout'}, [*ARGUMENTS, *OF_LAUNCH], all_ours=True)


@pytest.mark.parametrize(
    ('command', 'ours'),
    [
        (['ros2', 'launch', 'xvla_ros', 'bringup.launch.py', 'embodiemnt:=widowx'], True),
        (['ros2', 'launch', str(BRINGUP)], True),
        (['ros2', 'launch', 'lab', 'bringup.launch.py', 'robot_ip:=1'], False),
        (['ros2', 'launch', 'xvla_ros', 'sim.launch.py'], False),
        ([], False),
    ],
)
def test_a_launch_file_knows_whether_it_was_launched_itself(command, ours):
    assert is_top_level(str(BRINGUP), command) is ours


@pytest.mark.parametrize(
    ('text', 'meaning'),
    [
        ('true', True),
        ('True', True),
        ('1', True),
        ('false', False),
        ('False', False),
        ('0', False),
    ],
)
def test_truth_has_the_spellings_of_ros(text, meaning):
    assert truth('armed', text) is meaning
    assert overrides({**CHOSEN, 'armed': text})['control.start_armed'] is meaning


def test_other_values_are_refused_by_their_argument():
    with pytest.raises(ConfigError, match="'armed': expected true or false, got 'maybe'"):
        overrides({**CHOSEN, 'armed': 'maybe'})
    with pytest.raises(ConfigError, match=r"'log_level': expected one of .*, got 'loud'"):
        log_level('loud')
    with pytest.raises(ConfigError, match='no robot given: expected one of agilex, '):
        embodiment_file('', sim=False)


def test_arguments_replace_parameters_and_empty_ones_do_not():
    given = overrides({**CHOSEN, 'limits.max_linear_speed_m_s': '1', 'server_url': 'http://h:1'})
    assert given == {
        'control.start_armed': False,
        'limits.max_linear_speed_m_s': 1.0,
        'policy.server_url': 'http://h:1',
        'policy.checkpoint': '',
        'policy.adapter': '',
    }
    assert overrides({**CHOSEN, 'use_sim_time': 'True'})['use_sim_time'] is True
    text = overrides({**CHOSEN, 'instruction': 'no: 5'})
    assert text['policy.instruction'] == 'no: 5'


def topics(config):
    """Return what the displays of an RViz configuration subscribe to."""
    keys = ('Topic', 'Description Topic')
    displays = config['Visualization Manager']['Displays']
    return {display[key]['Value'] for display in displays for key in keys if key in display}


@pytest.mark.parametrize('robot', ['franka', 'widowx', 'agilex', 'ur5e'])
@pytest.mark.parametrize('namespace', ['', 'left', '/cell/left/'])
def test_rviz_shows_the_robots_own_topics(robot, namespace):
    embodiment = load_embodiment(embodiment_file(robot, sim=True))
    config = rviz_config(embodiment, namespace)
    names = [camera.topic for camera in embodiment.cameras.values()]
    names += ['policy_node/markers', 'sim_node/scene']
    names += [f'{embodiment.frame_prefix(arm)}robot_description' for arm in embodiment.arm_names]
    assert topics(config) == {absolute(name, namespace) for name in names}
    assert config['Visualization Manager']['Global Options']['Fixed Frame'] == 'world'


@pytest.mark.parametrize(
    ('robot', 'frame', 'prefixes'),
    [('franka', 'base', ['']), ('agilex', 'left/base_link', ['left', 'right'])],
)
def test_rviz_tells_arms_with_the_same_description_apart(robot, frame, prefixes):
    embodiment = load_embodiment(embodiment_file(robot, sim=False))
    manager = rviz_config(embodiment)['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == frame
    shown = [d['TF Prefix'] for d in manager['Displays'] if d['Name'].startswith('Robot')]
    assert shown == prefixes


def test_rviz_is_told_the_transport_of_compressed_cameras():
    camera = {'topic': 'front/image/compressed', 'compressed': True}
    overriding = {f'cameras.main.{key}': value for key, value in camera.items()}
    embodiment = load_embodiment(embodiment_file('widowx', sim=True), overriding)
    displays = rviz_config(embodiment)['Visualization Manager']['Displays']
    (display,) = (d for d in displays if d['Name'] == 'Camera main')
    assert display['Topic']['Value'] == '/front/image'
    assert display['Transport Hint'] == 'compressed'
