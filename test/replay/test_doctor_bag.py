# SPDX-License-Identifier: Apache-2.0
"""The doctor on a bag: what does not fit the file is named with figures, and a fit proposed."""

import re

from bags import copy_bag, STRING
import pytest
import yaml

pytest.importorskip('rclpy', reason='messages are read as the classes of ROS')

from xvla_ros.bags.message_types import moved_stamp, read_message, write_message
from xvla_ros.bags.topics import JOINTS
from xvla_ros.tools.cli import main

ARM = 'arms.arm.'


def doctor(capsys, bag, *arguments):
    """Return exit code, findings by name, and what --suggest printed."""
    code = main(['doctor', str(bag), *arguments])
    text, _, proposed = capsys.readouterr().out.partition('\nproblems: ')
    lines = text.splitlines()
    found = {line[9:].split(' (')[0].split(':')[0]: line for line in lines if line[:2] != '  '}
    return code, found, yaml.safe_load(proposed.partition('\n')[2] or '') or {}


def setting(name, value):
    return ('--set', f'{name}={value}')


def test_a_bag_that_fits_has_no_problem(simulated, capsys):
    code, found, proposed = doctor(capsys, simulated, '--suggest')
    assert code == 0
    assert found['path of arm'].startswith('ok')
    assert found['joints of arm'].startswith('ok')
    assert found['gripper of arm'].startswith('ok')
    assert '30.0 Hz' in found['camera main']
    assert found['jumps of arm'].startswith('WARNING  jumps of arm: 1 jumps')  # two scenes
    assert proposed == {}


def test_a_path_outside_the_workspace_is_measured_and_a_box_proposed(simulated, capsys):
    box = setting(ARM + 'workspace_max_m', '[0.4, 0.5, 0.6]')
    _, found, proposed = doctor(capsys, simulated, '--suggest', *box)
    line = found['path of arm']
    assert line.startswith('WARNING')
    highest = float(re.search(r'to \(([\d.]+),', line)[1])
    assert highest > 0.4
    assert re.search(r'[1-9]\d*% outside', line)
    (far, *rest) = proposed['arms']['arm']['workspace_max_m']
    assert highest < far < highest + 0.04
    assert rest == [0.5, 0.6]
    again = setting(ARM + 'workspace_max_m', [far, *rest])
    assert doctor(capsys, simulated, *again)[1]['path of arm'].startswith('ok')


def test_speeds_above_the_limit_are_counted_and_a_limit_proposed(simulated, capsys):
    slow = setting('limits.max_linear_speed_m_s', 0.01)
    _, found, proposed = doctor(capsys, simulated, '--suggest', *slow)
    assert 'of the steps above the limit, 0.01' in found['linear speed of arm']
    wanted = proposed['limits']['max_linear_speed_m_s']
    assert 0.01 < wanted < 3.0
    again = setting('limits.max_linear_speed_m_s', wanted)
    assert doctor(capsys, simulated, *again)[1]['linear speed of arm'].startswith('ok')


def changed(simulated, folder, change):
    """Copy a bag with changed joint states."""

    def apply(raw):
        if raw.kind != JOINTS:
            return raw.data
        message = read_message(JOINTS, raw.data)
        change(message)
        return write_message(JOINTS, message)

    return copy_bag(simulated, folder, change=apply)


def test_joints_beyond_the_urdf_and_a_wider_gripper_are_named(simulated, tmp_path, capsys):
    def change(message):
        names = list(message.name)
        message.position = message.position.copy()
        message.position[names.index('fr3_joint4')] = 0.05  # above its upper limit
        message.position[names.index('fr3_finger_joint1')] *= 1.5

    bag = changed(simulated, tmp_path / 'bag', change)
    code, found, proposed = doctor(capsys, bag, '--suggest')
    assert code == 0
    assert re.search(r'fr3_joint4 by up to [\d.]+ mrad \(100%\)', found['joints of arm'])
    assert 'file: 0 to 0.04' in found['gripper of arm']
    assert proposed['arms']['arm']['gripper']['open_position'] == pytest.approx(0.06, abs=2e-3)


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda m: setattr(m, 'name', []), 'JointState without names'),
        (lambda m: setattr(m, 'name', [*m.name[:-1], m.name[0]]), 'names fr3_joint1 twice'),
        (lambda m: setattr(m, 'name', [f'x{n}' for n in m.name]), 'it names xfr3_joint1'),
    ],
)
def test_names_of_joints_are_compared(simulated, tmp_path, capsys, change, says):
    main(['doctor', str(changed(simulated, tmp_path / 'bag', change))])
    assert says in capsys.readouterr().out


def test_missing_topics_stamps_and_encodings_are_named(simulated, tmp_path, capsys):
    def spoil(raw):
        if '/camera/wrist' in raw.topic:
            return raw.data[:100] + bytes(len(raw.data) - 100)
        return moved_stamp(raw.data, 0) if raw.topic == '/joint_states' else raw.data

    bag = copy_bag(
        simulated, tmp_path / 'bag', change=spoil,
        rename={'/camera/main/image_raw/compressed': '/cam0/compressed'},
    )  # fmt: skip
    code = main(['doctor', str(bag)])
    said = capsys.readouterr().out
    assert code == 1
    assert 'PROBLEM  camera main (camera/main/image_raw/compressed): no topic' in said
    assert 'the bag has /cam0/compressed, ' in said
    assert 'cannot decode the compressed image' in said
    assert 'messages have no stamp' in said


def test_topics_with_one_ending_are_named_not_called_missing(simulated, tmp_path, capsys):
    bag = copy_bag(simulated, tmp_path / 'bag', rename={
        '/joint_states': '/left/joint_states', '/policy_node/task': '/right/joint_states',
    })  # fmt: skip
    main(['doctor', str(bag)])
    said = capsys.readouterr().out
    assert "several topics end in 'joint_states': /left/joint_states, /right/joint_states" in said


def test_suggest_needs_a_bag_and_a_foreign_bag_its_robot(simulated, tmp_path, capsys):
    assert main(['doctor', '--suggest']) == 2
    assert '--suggest needs a BAG' in capsys.readouterr().err
    bag = copy_bag(simulated, tmp_path / 'bag', keep=lambda raw: raw.kind != STRING)
    assert main(['doctor', str(bag)]) == 2
    assert 'give its robot by --embodiment' in capsys.readouterr().err
