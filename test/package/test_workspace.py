# SPDX-License-Identifier: Apache-2.0
"""
A plain colcon workspace, built without the Makefile, runs the simulation.

The workspace has an environment of its own, made with --system-site-packages as docs/install.md
says. Here the wheels stand for the packages of the system's Python.

`make ros-workspace-test` builds the workspace. `make test` leaves the build out, which takes a
minute, and lets the workspace's environment run what `make build` has built.
"""

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

from counts import FULL
import pytest
from simulation import runs_and_ends

pytest.importorskip('colcon_core', reason='colcon builds the workspace')
pytest.importorskip('rclpy', reason='the simulation needs ROS')

ROOT = Path(__file__).resolve().parents[2]
PREFIX = Path(sys.prefix)
PACKAGES = next(PREFIX.glob('lib/python*/site-packages'))
# What the build reads; CMake wants the tests' folder to exist.
SOURCES = (
    'package.xml',
    'CMakeLists.txt',
    'action',
    'config',
    'launch',
    'msg',
    'resource',
    'scripts',
    'srv',
    'test',
    'xvla_ros',
)
NODES = ('policy_node', 'controller_node', 'sim_node')
BUILD_S = 1500  # a minute on a quiet machine, ten on one that is shared
pytestmark = [pytest.mark.ros, pytest.mark.timeout(1800)]


def test_the_workspace_has_every_folder_that_cmake_reads():
    text = (ROOT / 'CMakeLists.txt').read_text()
    interfaces = set(re.findall(r'^ +(\w+)/\w+\.(?:msg|srv|action)$', text, re.MULTILINE))
    installed = set(re.findall(r'DIRECTORY (\w+(?: \w+)*)$', text, re.MULTILINE))
    assert interfaces == {'action', 'msg', 'srv'}
    assert interfaces | {name for names in installed for name in names.split()} <= set(SOURCES)


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Make the workspace's folder, with its sources and its environment."""
    folder = tmp_path_factory.mktemp('ros2_ws')
    sources = folder / 'src' / 'xvla_ros'
    sources.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    options = ('--system-site-packages', '--without-pip')
    subprocess.run([sys.executable, '-m', 'venv', *options, folder / 'venv'], check=True)
    (folder / 'venv' / 'COLCON_IGNORE').touch()
    (own,) = folder.glob('venv/lib/python*/site-packages')
    site = f'import site; site.addsitedir({str(PACKAGES)!r})\n'  # reads its .pth files, too
    own.joinpath('system.pth').write_text(site)
    return folder


def environment(folder):
    """Return that of a shell in which ROS and the workspace's environment are sourced."""
    given = dict(os.environ, VIRTUAL_ENV=f'{folder}/venv')
    given['PATH'] = f'{folder}/venv/bin:{PREFIX}/bin:{os.environ["PATH"]}'
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):  # behind ours, a sourced ROS
        given[name] = os.pathsep.join(filter(None, (str(PREFIX), os.environ.get(name))))
    return given


@pytest.fixture(scope='module')
def installed(workspace):
    """Build the package as `python3 -m colcon build` in the workspace does, on top of ROS."""
    if not FULL:
        pytest.skip('the build takes a minute: make ros-workspace-test')
    done = subprocess.run(
        ['python3', '-m', 'colcon', 'build', '--packages-select', 'xvla_ros'],
        cwd=workspace,
        env=environment(workspace),
        capture_output=True,
        text=True,
        timeout=BUILD_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return workspace / 'install' / 'xvla_ros'


def test_the_simulation_runs_from_a_built_workspace(workspace, installed):
    setup = f'{workspace}/install/local_setup.bash'
    config = installed / 'share' / 'xvla_ros' / 'config' / 'franka_sim.yaml'
    words = f'. "{setup}"; exec "{installed}/lib/xvla_ros/sim_node" --ros-args'
    command = ['bash', '-c', f'{words} --params-file "{config}"']
    runs_and_ends(command, environment(workspace), workspace)


@pytest.mark.parametrize('name', NODES)
def test_an_installed_node_runs_with_the_workspaces_python(workspace, installed, name):
    assert f'{workspace}/venv/bin/python' in (installed / 'lib' / 'xvla_ros' / name).read_text()


def test_the_workspaces_environment_sees_the_systems_packages(workspace):
    python, script = workspace / 'venv' / 'bin' / 'python', ROOT / 'scripts' / 'sim_node'
    config = ROOT / 'config' / 'franka_sim.yaml'
    command = [python, script, '--ros-args', '--params-file', config]
    runs_and_ends(command, environment(workspace), workspace)


@pytest.mark.parametrize('name', NODES)
def test_a_node_without_its_packages_ends_in_one_line(name):
    """As where `colcon build` ran with the system's Python, before anything was installed."""
    script = (ROOT / 'scripts' / name).read_text()
    code = f'import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}'
    done = subprocess.run(
        ['/usr/bin/python3', '-I', '-c', code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f'{name}: the Python package ')
    assert 'make build' in line
