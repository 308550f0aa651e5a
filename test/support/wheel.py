# SPDX-License-Identifier: Apache-2.0
"""An environment that holds the wheel and what it asks for, and nothing else."""

from importlib.metadata import distribution, version
import os
from pathlib import Path
import subprocess
import sys
import sysconfig

from counts import FULL
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def build_wheel(folder):
    """Build the wheel as `pip wheel .` does, with the build packages of this environment."""
    options = [] if FULL else ['--no-build-isolation']
    pip('wheel', '-q', '--no-deps', *options, '-w', str(folder), str(ROOT))
    (wheel,) = folder.glob('*.whl')
    return wheel


def pip(*arguments):
    result = subprocess.run(
        [sys.executable, '-m', 'pip', *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def closure(wanted):
    """Return the names of all packages that requirements lead to; each installed one fits."""
    found = set()
    while wanted:
        requirement = wanted.pop()
        installed = distribution(requirement.name)
        assert requirement.specifier.contains(installed.version, prereleases=True), requirement
        for extra in {'', *requirement.extras}:
            if (requirement.name, extra) not in found:
                found.add((requirement.name, extra))
                wanted += applicable(installed.requires or (), extra)
    return {name for name, _ in found}


def applicable(lines, extra):
    """Return the requirements that hold on this machine for one extra ('': without)."""
    found = [Requirement(line) for line in lines]
    return [each for each in found if not each.marker or each.marker.evaluate({'extra': extra})]


class Environment:
    """
    A virtual environment with the wheel.

    With XVLA_TEST_FULL pip resolves what the wheel needs (torch in the version that is here: its
    builds are large). Else the packages are links into the environment of the tests: those that
    the wheel needs, directly or through others, each within its range; nothing else is visible.
    """

    def __init__(self, folder, wheel):
        self.folder = folder
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
        self.python, self.bin = folder / 'bin' / 'python', folder / 'bin'
        target = ('--python', str(self.python), 'install', '-q')
        pip(*target, '--no-deps', str(wheel))
        if FULL:
            pip(*target, str(wheel), f'torch=={version("torch").split("+")[0]}')
        else:
            for name in self._needed():
                self._link(name)

    def run(self, *command, cwd):
        """Run a command of the environment, without anything of ours in its variables."""
        hidden = ('PYTHON', 'AMENT', 'ROS', 'VIRTUAL_ENV', 'FASTRTPS', 'FASTDDS', 'LD_LIBRARY')
        variables = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        variables |= {'PATH': f'{self.bin}:/usr/bin:/bin', 'OMP_NUM_THREADS': '1'}
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=cwd,
            env=variables,
            capture_output=True,
            text=True,
            timeout=280,
        )

    def _needed(self):
        query = 'from importlib.metadata import requires; print(*requires("xvla_ros"), sep="\\n")'
        wanted = self.run('python', '-c', query, cwd=self.folder).stdout.splitlines()
        return closure(applicable(wanted, ''))

    def _link(self, name):
        """Link the top-level files of an installed package into the environment."""
        version_of_python = f'python{sys.version_info[0]}.{sys.version_info[1]}'
        here = self.folder / 'lib' / version_of_python / 'site-packages'
        there = Path(sysconfig.get_path('purelib'))
        tops = {file.parts[0] for file in distribution(name).files} - {'..', '__pycache__'}
        for top in tops:
            if not (here / top).exists():
                (here / top).symlink_to(there / top)
