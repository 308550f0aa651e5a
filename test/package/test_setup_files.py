# SPDX-License-Identifier: Apache-2.0
"""`source .venv/setup.bash`: the package is found, and the system's tools still come first."""

import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

VENV = Path(__file__).resolve().parents[2] / '.venv'
SYSTEM = '/usr/local/bin:/usr/bin:/bin'

pytestmark = pytest.mark.skipif(
    Path(sys.prefix) != VENV, reason='this environment was not made by make build'
)


def shell(words, **environment):
    """Return what a shell that knows only the system says after sourcing the file, twice."""
    command = ['bash', '-uc', f'set +u; . {VENV}/setup.bash; . {VENV}/setup.bash; {words}']
    done = subprocess.run(
        command, env={'PATH': SYSTEM, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize('tool', ['python3', 'pip', 'cmake', 'pytest'])
def test_tools_of_the_system_stay_in_front(tool):
    found = shutil.which(tool, path=SYSTEM)
    if found is None:
        pytest.skip(f'this system has no {tool}')
    assert shell(f'command -v {tool}') == found


def test_xvla_is_found():
    assert shell('command -v xvla') == str(VENV / 'bin' / 'xvla')


def test_of_the_environments_python_packages_only_ours_is_seen():
    (folder,) = shell('echo $PYTHONPATH').split(os.pathsep)
    assert os.listdir(folder) == ['xvla_ros']
    assert shell('echo $PYTHONPATH', PYTHONPATH='/mine') == f'/mine:{folder}'


def test_ros_finds_the_package_and_what_is_in_it():
    assert shell('echo $AMENT_PREFIX_PATH') == str(VENV)
    assert shell('echo $AMENT_PREFIX_PATH', AMENT_PREFIX_PATH='/opt/ros/x') == f'{VENV}:/opt/ros/x'
    code = 'import sys; sys.path.insert(0, sys.argv[1]); import xvla_ros; print(xvla_ros.__file__)'
    found = shell(f"{sys.executable} -I -c '{code}' $PYTHONPATH")
    assert Path(found).resolve().parent == VENV.parent / 'xvla_ros'
