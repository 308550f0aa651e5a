# SPDX-License-Identifier: Apache-2.0
"""
The way of a machine with ROS 2 Jazzy, in short; `make jazzy-rehearsal` takes it in whole.

Here the wheels of this environment stand for /opt/ros/jazzy, and pip installs nothing: the
bootstrap makes an environment over them, and the simulation runs from it.
"""

import importlib.util
import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest
from simulation import runs_and_ends

pytest.importorskip('rclpy', reason='the simulation needs ROS')

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'scripts' / 'jazzy_rehearsal.py'
pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif('ROS_DISTRO' in os.environ, reason='here is a ROS already'),
]


def load():
    """Import the rehearsal as a module."""
    spec = importlib.util.spec_from_file_location('jazzy_rehearsal', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rehearsal = load()


@pytest.fixture(scope='module')
def machine(tmp_path_factory):
    """Make a folder with a setup.bash of ROS, a Python that has nothing of it, and a checkout."""
    folder = tmp_path_factory.mktemp('jazzy')
    checkout = folder / 'xvla_ros'
    for name in ('scripts', 'requirements', 'config', 'xvla_ros'):
        shutil.copytree(ROOT / name, checkout / name)
    (checkout / 'requirements' / 'lock-jazzy.txt').write_text('')  # the index stays alone
    return rehearsal.write_setup(Path(sys.prefix), folder), checkout


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    return rehearsal.stand_in(sys.executable, tmp_path_factory.mktemp('usr'))


def words(setup, *command):
    """Return a command in a shell of a machine that knows only its system, and then ROS."""
    return ['bash', '-c', f'. "{setup}"; exec "$@"', 'bash', *map(str, command)]


def environment(python):
    names = ('HOME', 'ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE')
    given = {name: os.environ[name] for name in names}
    return {**given, 'PATH': f'{python.parent}:{rehearsal.SYSTEM_PATH}', 'PYTHON': str(python)}


def said(command, python, cwd):
    """Return what a command prints."""
    done = subprocess.run(
        command, env=environment(python), cwd=cwd, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_stand_in_has_packages_of_its_own(python):
    code = 'import sys, json, ensurepip; print(sys.prefix, sys.base_prefix)'
    prefixes = said([python, '-I', '-c', code], python, '/')
    assert set(prefixes.split()) == {str(python.parents[1])}
    assert rehearsal.stand_in(sys.executable, python.parents[1]) == python, 'made once'
    done = subprocess.run([python, '-I', '-c', 'import numpy'], capture_output=True, text=True)
    assert 'ModuleNotFoundError' in done.stderr


def test_an_environment_over_ros_runs_the_simulation(machine, python):
    setup, checkout = machine
    printed = said(words(setup, 'scripts/bootstrap'), python, checkout)
    assert 'over ROS 2 jazzy' in printed
    assert 'CMake files' not in printed, 'files of an installed ROS are not ours to repair'
    inside = checkout / '.venv' / 'bin' / 'python'
    listed = said([inside, '-m', 'pip', 'list', '--local'], python, checkout)
    assert 'rclpy' not in listed
    node = [inside, '-m', 'xvla_ros.nodes.sim', '--ros-args', '--params-file']
    command = words(setup, *node, checkout / 'config' / 'franka_sim.yaml')
    runs_and_ends(command, environment(python), checkout)


def test_without_ros_in_sight_the_bootstrap_names_its_package(machine, python):
    _, checkout = machine
    done = subprocess.run(
        [checkout / 'scripts' / 'bootstrap'],
        env={**environment(python), 'ROS_DISTRO': 'jazzy'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'apt-get install ros-jazzy-rclpy' in done.stderr


def test_what_stands_for_pinocchio_is_what_the_lock_pins():
    names = {line.split('==')[0] for line in rehearsal.pinned('lock.txt', rehearsal.PINOCCHIO)}
    assert {'pin', 'libpinocchio', 'eigenpy', 'coal', 'cmeel-boost'} <= names
    assert not rehearsal.pinned('lock-jazzy.txt', rehearsal.PINOCCHIO)
    lines = (ROOT / 'requirements' / 'lock-jazzy.txt').read_text().splitlines()
    jazzy = {line.removesuffix(' \\') for line in lines}
    shared = {line.split('==')[0]: line for line in rehearsal.UBUNTU}
    assert {shared['numpy'], shared['pytest']} <= jazzy


def test_an_unknown_step_is_refused():
    command = [sys.executable, SCRIPT, '--steps', 'build,dmeo']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "unknown step 'dmeo': expected some of bootstrap, build, test" in done.stderr
