# SPDX-License-Identifier: Apache-2.0
"""
`source .venv/setup.bash`: the package is found, and the system's tools still come first.

Where the package was built over an installed ROS, the file sources that one, too. What it adds is
therefore compared with a shell that has sourced ROS alone.
"""

import os
from pathlib import Path
import subprocess
import sys

import pytest

VENV = Path(__file__).resolve().parents[2] / '.venv'
SYSTEM = '/usr/local/bin:/usr/bin:/bin'

pytestmark = pytest.mark.skipif(
    Path(sys.prefix) != VENV, reason='this environment was not made by make build'
)


def run(sourced, words, environment):
    """Return what a shell that knows only the system says after sourcing files."""
    command = ['bash', '-uc', f'set +u; {"; ".join(sourced)}; {words}']
    done = subprocess.run(
        command, env={'PATH': SYSTEM, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shell(words, **environment):
    """Return what a shell says after sourcing the file, twice."""
    return run([f'. {VENV}/setup.bash'] * 2, words, environment)


def without(words, **environment):
    """Return what a shell says that has sourced only what the file sources: ROS, or nothing."""
    lines = (VENV / 'setup.bash').read_text().splitlines()
    parents = [line for line in lines if line.startswith('. ')]
    return run(parents or [':'], words, environment)


def joined(*paths):
    """Return a search path of those that are not empty."""
    return os.pathsep.join(filter(None, paths))


@pytest.mark.parametrize('tool', ['python3', 'pip', 'cmake', 'pytest'])
def test_tools_of_the_system_stay_in_front(tool):
    found = without(f'command -v {tool} || true')
    if not found:
        pytest.skip(f'this system has no {tool}')
    assert shell(f'command -v {tool}') == found


def test_xvla_is_found():
    assert shell('command -v xvla') == str(VENV / 'bin' / 'xvla')


@pytest.mark.parametrize('given', ['', '/mine'])
def test_of_the_environments_python_packages_only_ours_is_seen(given):
    environment = {'PYTHONPATH': given} if given else {}
    before = without('echo ${PYTHONPATH-}', **environment)
    folder = shell('echo $PYTHONPATH', **environment).removeprefix(before).lstrip(os.pathsep)
    assert os.listdir(folder) == ['xvla_ros']
    assert shell('echo $PYTHONPATH', **environment) == joined(before, folder)


@pytest.mark.parametrize('given', ['', '/opt/ros/x'])
def test_ros_finds_the_package(given):
    environment = {'AMENT_PREFIX_PATH': given} if given else {}
    before = without('echo ${AMENT_PREFIX_PATH-}', **environment)
    assert shell('echo $AMENT_PREFIX_PATH', **environment) == joined(str(VENV), before)


def test_python_finds_what_is_in_the_package():
    code = 'import sys; sys.path.append(sys.argv[1]); import xvla_ros; print(xvla_ros.__file__)'
    found = shell(f"{sys.executable} -I -c '{code}' ${{PYTHONPATH##*:}}")
    assert Path(found).resolve().parent == VENV.parent / 'xvla_ros'
