# SPDX-License-Identifier: Apache-2.0
"""The regression suite that users adopt: a YAML file of bags, or a few lines of Python."""

import subprocess
import sys

from checkout import with_checkout
import pytest
import yaml

pytest.importorskip('rclpy', reason='messages are read as the classes of ROS')

from xvla_ros.core.errors import ConfigError
from xvla_ros.testing.replay_case import check_replay, read_cases, ReplayCase


def suite(cases, *options):
    """Run the suite as a user does; return exit code and output."""
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'xvla_ros.testing.plugin']
    done = subprocess.run(
        [*command, '--pyargs', 'xvla_ros.testing', '--replay-cases', str(cases), *options],
        cwd=cases.parent, env=with_checkout(), capture_output=True,
        text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_yaml_file_of_bags_is_a_suite(simulated, tmp_path):
    cases = tmp_path / 'cases.yaml'
    entry = {'bag': str(simulated), 'model': False, 'golden': 'golden/reach.csv', 'name': 'reach'}
    cases.write_text(yaml.safe_dump([{**entry, 'max_rejected': 0}]))
    code, text = suite(cases)
    assert code == 1
    assert '--update-golden writes it' in text
    assert suite(cases, '--update-golden')[0] == 0
    assert suite(cases)[0] == 0
    golden = tmp_path / 'golden' / 'reach.csv'
    golden.write_text(golden.read_text().replace(',0,0.35', ',0,0.36', 1))
    code, text = suite(cases)
    assert code == 1
    assert 'arm.x_m is' in text


def test_limits_decide_too(simulated, tmp_path):
    case = ReplayCase(bag=simulated, model=False, max_open_loop_mm={'0.2 s': 0.0})
    with pytest.raises(AssertionError, match=r'mm off after 0\.2 s'):
        check_replay(case, tmp_path)


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('{}', 'expected a list'),
        ('- golden: x.csv', 'expected a block with `bag:`'),
        ('- {bag: x, gold: y}', 'unknown'),
    ],
)
def test_a_wrong_file_of_cases_is_refused(tmp_path, text, says):
    path = tmp_path / 'cases.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_cases(path)
