# SPDX-License-Identifier: Apache-2.0
"""The wheel, alone in an environment: the library and the commands that need no ROS."""

import json
import os
import subprocess

from counts import FULL
import pytest
from wheel import build_wheel, Environment, ROOT

PREDICT = """
import numpy as np
from xvla_ros import load_policy
policy = load_policy('demo_policy')
image = np.zeros((*policy.images.size, 3), np.uint8)
domain = policy.trained_domains[0]
chunk = policy.predict([image, image], np.zeros(20), 'pick up the red block', domain, steps=2)
print(chunk.shape, chunk.dtype)
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    if not FULL and 'ROS_DISTRO' in os.environ:
        pytest.skip('cv2, numpy and pinocchio are those of ROS, not those of pip: make test-full')
    return Environment(tmp_path_factory.mktemp('installed') / 'venv', wheel)


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Record a short bag with the environment of the tests, which has ROS."""
    pytest.importorskip('rclpy', reason='a bag is made from the messages of ROS')
    from xvla_ros.testing.simulated_bag import simulate_bag, Simulation

    folder = tmp_path_factory.mktemp('bags') / 'small'
    simulation = Simulation(seconds=2.0, size=(96, 72), episode_s=2.0)
    simulate_bag(folder, ROOT / 'config' / 'franka_sim.yaml', simulation)
    return folder


def passes(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_nothing_of_ros_is_in_the_environment(installed, tmp_path):
    code = 'from importlib.util import find_spec as f; print(f("rclpy"), f("xvla_ros.nodes"))'
    assert passes(installed.run('python', '-c', code, cwd=tmp_path)) == 'None None\n'


def test_the_wheel_says_that_it_is_typed_and_holds_no_caches(wheel):
    listing = subprocess.run(['unzip', '-l', wheel], capture_output=True, text=True).stdout
    assert 'xvla_ros/py.typed' in listing
    assert '__pycache__' not in listing
    assert '.gitkeep' not in listing


def test_the_demo_policy_predicts(installed, tmp_path):
    assert passes(installed.run('python', '-c', PREDICT, cwd=tmp_path)) == '(30, 20) float32\n'


def test_the_demo_policy_is_evaluated(installed, tmp_path):
    command = ('xvla', 'evaluate', '--episodes', '1', '--embodiment', 'franka')
    text = passes(installed.run(*command, '--json', 'result.json', cwd=tmp_path))
    (result,) = json.loads((tmp_path / 'result.json').read_text())
    assert f'{result["reached"]} of 1 reached' in text


@pytest.mark.ros
def test_a_bag_is_replayed_and_reported(installed, bag, tmp_path):
    replay = ('xvla', 'replay', str(bag), '--deterministic', '--checkpoint', 'demo_policy')
    passes(installed.run(*replay, '--out', 'replayed', cwd=tmp_path))
    assert len((tmp_path / 'replayed' / 'targets.csv').read_text().splitlines()) > 20
    report = ('xvla', 'report', str(bag), '--run', 'replayed', '--out', 'page.html')
    passes(installed.run(*report, cwd=tmp_path))
    assert '</html>' in (tmp_path / 'page.html').read_text()


def test_a_checkpoint_is_inspected_and_converted(installed, tmp_path):
    passes(installed.run('xvla', 'inspect', 'demo_policy', cwd=tmp_path))
    convert = ('xvla', 'convert', 'demo_policy', 'native', '--layout', 'native')
    passes(installed.run(*convert, cwd=tmp_path))
    assert (tmp_path / 'native' / 'model.safetensors').exists()


def test_the_doctor_finds_no_problem(installed, tmp_path):
    text = passes(installed.run('xvla', 'doctor', '--embodiment', 'franka_sim', cwd=tmp_path))
    assert 'without the ROS nodes' in text


@pytest.mark.parametrize(
    ('command', 'needed'),
    [
        ('demo', 'ROS 2'),
        ('record --embodiment franka', 'ROS 2'),
        ('replay some_bag', 'ROS 2'),
        ('doctor --embodiment franka --live', 'ROS 2'),
        ('bench', 'checkout'),
    ],
)
def test_what_a_command_lacks_is_one_line(installed, tmp_path, command, needed):
    result = installed.run('xvla', *command.split(), cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith('xvla: ')
    assert needed in line
