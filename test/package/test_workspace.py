# SPDX-License-Identifier: Apache-2.0
"""A plain colcon workspace, built without the Makefile, runs the simulation."""

import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('colcon_core', reason='colcon builds the workspace')
rclpy = pytest.importorskip('rclpy', reason='the simulation needs ROS')

ROOT = Path(__file__).resolve().parents[2]
PREFIX = Path(sys.prefix)
# What the build reads; a test folder is only read with BUILD_TESTING.
SOURCES = (
    'package.xml',
    'CMakeLists.txt',
    'action',
    'config',
    'launch',
    'msg',
    'resource',
    'scripts',
    'xvla_ros',
)
BUILD_S, START_S = 280, 120
pytestmark = [pytest.mark.ros, pytest.mark.timeout(600)]


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Build the package into install/ as `colcon build` in a workspace does, on top of ROS."""
    folder = tmp_path_factory.mktemp('ros2_ws')
    sources = folder / 'src' / 'xvla_ros'
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        sources.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, sources / name)
    bases = {'--build-base': 'build', '--install-base': 'install'}
    places = [word for option, name in bases.items() for word in (option, str(folder / name))]
    environment = dict(os.environ, PATH=f'{PREFIX}/bin:{os.environ["PATH"]}')
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
        environment[name] = os.pathsep.join(filter(None, (str(PREFIX), environment.get(name))))
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'colcon', '--log-base', str(folder / 'log'), 'build'),
            *('--base-paths', str(folder / 'src'), *places, '--cmake-args', '-DBUILD_TESTING=OFF'),
            f'-DPython3_EXECUTABLE={PREFIX}/bin/python3',
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / 'install' / 'xvla_ros'


def test_the_simulation_runs_from_it(workspace):
    config = workspace / 'share' / 'xvla_ros' / 'config' / 'franka_sim.yaml'
    words = f'. {workspace}/local_setup.bash; exec {workspace}/lib/xvla_ros/sim_node --ros-args'
    process = subprocess.Popen(['bash', '-c', f'{words} --params-file {config}'])
    rclpy.init()
    node = rclpy.create_node('onlooker')
    try:
        deadline = time.monotonic() + START_S
        while not node.count_publishers('/joint_states'):
            assert process.poll() is None, 'the simulation has ended'
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 0
    finally:
        process.kill()
        node.destroy_node()
        rclpy.shutdown()


@pytest.mark.parametrize('name', ['policy_node', 'controller_node', 'sim_node'])
def test_a_node_without_its_packages_ends_in_one_line(workspace, name):
    """As where `colcon build` ran with the system's Python, before anything was installed."""
    script = (workspace / 'lib' / 'xvla_ros' / name).read_text()
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
