# SPDX-License-Identifier: Apache-2.0
"""The shipped files say what the drivers' sources say."""

from functools import reduce
import re

from driver_facts import RATES_HZ, SETTINGS
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

# An age limit with room for a lost message: one that comes late must not stop the arm.
LEAST_MESSAGES = 2.5
CASES = [
    (file, arm, setting, *fact)
    for (file, arm), facts in SETTINGS.items()
    for setting, fact in facts.items()
]


def arm_of(file, arm):
    return load_embodiment(shared_file('config', f'{file}.yaml')).arms[arm]


@pytest.mark.parametrize(
    ('file', 'arm', 'setting', 'value', 'source'), CASES, ids=[f'{c[0]}-{c[2]}' for c in CASES]
)
def test_a_setting_is_the_drivers(file, arm, setting, value, source):
    assert reduce(getattr, setting.split('.'), arm_of(file, arm)) == value, source


@pytest.mark.parametrize(('place', 'fact'), RATES_HZ.items())
def test_an_age_limit_suits_the_drivers_rate(place, fact):
    *where, limit = place
    rate_hz, source = fact
    assert getattr(arm_of(*where), limit) >= LEAST_MESSAGES / rate_hz, source


@pytest.mark.parametrize('file', sorted({file for file, _ in SETTINGS}))
def test_the_file_names_commits(file):
    text = shared_file('config', f'{file}.yaml').read_text()
    assert re.search(r'\b[0-9a-f]{7}\b', text)


def test_a_ur_behind_the_forward_position_controller_is_two_settings():
    """Universal_Robots_ROS2_Driver, ur_robot_driver/config/ur_controllers.yaml:27."""
    topic = 'forward_position_controller/commands'
    given = {'arms.arm.driver': 'joint_position', 'arms.arm.command_topic': topic}
    assert load_embodiment(shared_file('config', 'ur5e.yaml'), given).arms['arm'].urdf
    for place in ('config/ur5e.yaml', 'docs/drivers.md'):
        text = (shared_file('config', 'ur5e.yaml').parents[1] / place).read_text()
        assert all(f'{key}:={value}' in text for key, value in given.items()), place


def test_the_example_for_any_trajectory_controller_is_complete_but_for_its_description():
    root = shared_file('config', 'ur5e.yaml').parents[1]
    arm = load_embodiment(root / 'examples' / 'generic_jtc.yaml').arms['arm']
    assert arm.urdf_topic == 'robot_description'
    assert (arm.driver, arm.gripper.driver) == ('joint_trajectory', 'parallel_gripper_command')


def test_the_two_descriptions_of_the_piper_differ_in_joint_names_alone():
    counted_from_1 = shared_file('resource', 'robots/piper.urdf').read_text()
    counted_from_0 = shared_file('resource', 'robots/piper_joint0.urdf').read_text()
    renamed = re.sub(r'"joint([1-6])"', lambda m: f'"joint{int(m[1]) - 1}"', counted_from_1)
    elements = [text[text.index('<robot') :] for text in (renamed, counted_from_0)]
    assert elements[0] == elements[1]
