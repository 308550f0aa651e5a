#!/usr/bin/env python3
"""
Take the steps of a machine with ROS 2 Jazzy on one that has none: `make jazzy-rehearsal`.

A Python 3.12 of its own, with what Ubuntu 24.04 ships, stands for /usr/bin/python3. The wheels of
ROS, in a prefix with a setup.bash, stand for /opt/ros/jazzy. With both, a copy of the checkout is
bootstrapped, built, tested and run as after `source /opt/ros/jazzy/setup.bash`. What the wheels
lack is not rehearsed: apt, rosdep, the `ros2` command and launch files. Standard library only.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import time

ROOT = Path(__file__).resolve().parent.parent
# Versions of the python3-* packages of Ubuntu 24.04 that ROS 2 Jazzy depends on.
UBUNTU = (
    'catkin_pkg==1.0.0',
    'empy==3.3.4',
    'lark==1.1.9',
    'numpy==1.26.4',
    'opencv-python-headless==4.6.0.66',
    'packaging==24.0',
    'pip==24.0',
    'pytest==7.4.4',
    'pyyaml==6.0.1',
    'setuptools==68.1.2',
)
# The wheels of ros-jazzy-pinocchio and what it is made of. They ask for numpy 2 but run with 1.26.
PINOCCHIO = re.compile(r'(pin|libpinocchio|coal|libcoal|eigenpy|cmeel[-a-z0-9]*)==')
STEPS = {
    'bootstrap': ['make', 'bootstrap'],
    'build': ['make', 'build'],
    'test': ['make', 'test'],
    'demo': ['make', 'demo', 'ARGS=--episodes 1'],
    'workspace': ['make', 'ros-workspace-test'],
}
SETUP = """\
# Made by scripts/jazzy_rehearsal.py. Sourced again, it changes nothing, as that of ROS.
case ":${{AMENT_PREFIX_PATH-}}:" in *":{prefix}:"*) ;; *)
  export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO=jazzy
  export AMENT_PREFIX_PATH="{prefix}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"
  export CMAKE_PREFIX_PATH="{prefix}${{CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}}"
  export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
  export PYTHONPATH="{packages}${{PYTHONPATH:+:$PYTHONPATH}}"
  export PATH="{prefix}/bin:$PATH";;
esac
"""
# Of the caller's environment, what the rehearsed machine has, too; pip's settings as well.
KEPT = ('HOME', 'LANG', 'TMPDIR', 'CI', 'MUJOCO_GL', 'XVLA_TEST_FULL')
SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


def say(text: str) -> None:
    """Print one line of progress."""
    print(f'[jazzy] {text}', flush=True)


def run(command: list[str | Path], **options: object) -> None:
    """Run a command whose failure ends the rehearsal."""
    subprocess.run([str(word) for word in command], check=True, **options)


def find_python(given: str) -> str | None:
    """Return a Python 3.12 with headers and ensurepip: the given one, pyenv's, or of the PATH."""
    pyenv = sorted(Path.home().glob('.pyenv/versions/3.12*/bin/python3'), reverse=True)
    probe = (
        'import sys, sysconfig, ensurepip, pathlib\n'
        'header = pathlib.Path(sysconfig.get_path("include"), "Python.h")\n'
        'sys.exit(sys.version_info[:2] != (3, 12) or not header.exists())'
    )
    for python in [given] if given else [*map(str, pyenv), 'python3.12']:
        try:
            done = subprocess.run([python, '-c', probe], capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None


def stand_in(python: str, usr: Path) -> Path:
    """
    Make a Python with packages of its own out of links to an installed one, and return it.

    :param usr: folder that stands for /usr; kept when it is there.
    """
    query = 'import sys, os; v = sys.version_info; print(sys.base_prefix, f"python{v[0]}.{v[1]}")'
    base, name = subprocess.check_output([python, '-c', query], text=True).split()
    made = usr / 'bin' / 'python3'
    if made.exists():
        return made
    packages = usr / 'lib' / name / 'site-packages'
    for folder in (usr / 'bin', packages):
        folder.mkdir(parents=True, exist_ok=True)
    for path in Path(base, 'lib', name).iterdir():
        if path.name not in ('site-packages', 'dist-packages'):
            (packages.parent / path.name).symlink_to(path)
    (usr / 'include').symlink_to(Path(base, 'include'))
    # A copy, because Python looks for its packages beside the file that a link leads to.
    shutil.copy(Path(base, 'bin', name).resolve(), usr / 'bin' / name)
    made.symlink_to(name)
    run([made, '-m', 'ensurepip'], stdout=subprocess.DEVNULL)
    return made


def pinned(lock: str, pattern: re.Pattern[str]) -> list[str]:
    """Return the lines of a lock whose packages match."""
    lines = (ROOT / 'requirements' / lock).read_text().splitlines()
    return [line.removesuffix(' \\') for line in lines if pattern.match(line)]


def install_ros(python: Path, prefix: Path) -> None:
    """Install Ubuntu's packages beside the stand-in, and ROS and pinocchio into the prefix."""
    pip = [
        python,
        '-m',
        'pip',
        'install',
        '-q',
        '--progress-bar',
        'off',
        '--no-warn-script-location',
    ]
    environment = {**os.environ, 'PIP_ROOT_USER_ACTION': 'ignore'}
    environment['PIP_DISABLE_PIP_VERSION_CHECK'] = '1'
    say("installing Ubuntu's Python packages")
    run([*pip, *UBUNTU], env=environment)
    say(f'installing the wheels of ROS into {prefix}')
    run([*pip, '--prefix', prefix, '-r', ROOT / 'requirements' / 'ros.in'], env=environment)
    listed = prefix / 'pinocchio.txt'
    listed.write_text('\n'.join(pinned('lock.txt', PINOCCHIO)) + '\n')
    run([*pip, '--prefix', prefix, '--no-deps', '-r', listed], env=environment)
    repair_cmake_files(python, prefix)


def repair_cmake_files(python: Path, prefix: Path) -> None:
    """Point the CMake files of the wheels at the stand-in; they name their builder's paths."""
    query = 'import sysconfig, numpy; print(sysconfig.get_path("include"), numpy.get_include())'
    include, numpy = subprocess.check_output([str(python), '-c', query], text=True).split()
    built_at = r'/opt/python/cp\d+-cp\d+t?/'
    for path in (prefix / 'share').rglob('*.cmake'):
        text = path.read_text()
        new = re.sub(rf'{built_at}include/python3\.\d+t?', include, text)
        new = re.sub(rf'{built_at}lib/python3\.\d+t?/site-packages/numpy/\w+/include', numpy, new)
        if new != text:
            path.write_text(new)


def write_setup(prefix: Path, folder: Path) -> Path:
    """
    Write a setup.bash for a prefix that holds wheels, and return it.

    :param folder: where to write it; the prefix itself, as in /opt/ros/jazzy, or another.
    """
    (site,) = prefix.glob('lib/python3.*/site-packages')
    packages = [site, *site.glob('cmeel.prefix/lib/python3.*/site-packages')]
    libraries = [*sorted(site.glob('ros_*.libs')), prefix / 'lib']
    text = SETUP.format(
        prefix=prefix,
        packages=os.pathsep.join(map(str, packages)),
        libraries=os.pathsep.join(map(str, libraries)),
    )
    for name in ('setup.bash', 'local_setup.bash'):
        (folder / name).write_text(text)
    return folder / 'setup.bash'


def copy_checkout(target: Path) -> None:
    """Copy what git knows and what it would add, over an older copy."""
    command = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    listed = subprocess.check_output(command, cwd=ROOT, text=True).split('\0')
    for name in filter(None, listed):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def rehearse(command: list[str], setup: Path, python: Path, checkout: Path) -> int:
    """Run one step in a shell that knows only the system and ROS; return its exit code."""
    environment = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith('PIP_')}
    environment |= {'PATH': f'{python.parent}:{SYSTEM_PATH}', 'PYTHON': str(python)}
    words = ['bash', '-c', f'. "{setup}"; exec "$@"', 'bash', *command]
    return subprocess.run(words, cwd=checkout, env=environment).returncode


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    folder = ROOT / 'out' / 'jazzy'
    parser.add_argument('--folder', type=Path, default=folder, help='kept between runs')
    parser.add_argument('--python', default='', help='a Python 3.12; without it, look for one')
    parser.add_argument('--steps', default=','.join(STEPS), help='some of %(default)s')
    options = parser.parse_args()
    options.steps = options.steps.split(',')
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f'unknown step {sorted(unknown)[0]!r}: expected some of {", ".join(STEPS)}')
    return options


def main() -> int:
    """Make the stand-ins where they are missing, and take the steps until one fails."""
    options = arguments()
    if not (found := find_python(options.python)):
        say('no Python 3.12 with headers and ensurepip: give one with --python')
        return 1
    folder = options.folder.resolve()
    prefix, stamp = folder / 'opt' / 'ros' / 'jazzy', folder / 'installed'
    python = stand_in(found, folder / 'usr')
    if not stamp.exists():
        install_ros(python, prefix)
        stamp.touch()
    setup, checkout = write_setup(prefix, prefix), folder / 'xvla_ros'
    copy_checkout(checkout)
    for name in options.steps:
        started = time.monotonic()
        code = rehearse(STEPS[name], setup, python, checkout)
        result = f'failed ({code})' if code else 'passed'
        say(f'{name}: {result}, {time.monotonic() - started:.0f} s')
        if code:
            return code
    return 0


if __name__ == '__main__':
    sys.exit(main())
