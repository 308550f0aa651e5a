# SPDX-License-Identifier: Apache-2.0
"""Checks of the machine, without running ROS."""

from collections.abc import Iterator
import ctypes
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import shutil
import sys
import xml.etree.ElementTree as ElementTree

from xvla_ros.bringup import PROFILE_VARIABLES, transport_environment
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.tools.needs import from_wheel

# The default of Fast DDS, 512 kB, drops half of 640x480 images (facts of the transport profile).
LEAST_SEGMENT_BYTES = 4 * 2**20
LEAST_SHM_BYTES = 256 * 2**20
# adjtimex(2): the state of an unsynchronised clock; size of struct timex.
TIME_ERROR, TIMEX_BYTES = 5, 256
PACKAGES = ('numpy', 'scipy', 'torch', 'transformers', 'pin', 'mujoco', 'rosbags', 'mcap')


def machine_findings(embodiment: Embodiment | None) -> Iterator[Finding]:
    """Yield the findings for this machine."""
    yield _packages()
    if from_wheel():
        yield _without_ros()
    else:
        yield _ros()
        yield _messages()
    yield _device(embodiment)
    yield _transport()
    yield _shared_memory()
    yield _clock()
    yield from _governor()


def _packages() -> Finding:
    found, missing = [f'Python {sys.version.split()[0]}'], []
    for name in PACKAGES:
        try:
            found.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            level=PROBLEM,
            name='packages',
            found=f'{", ".join(missing)} missing',
            fix='pip install them'
            if from_wheel()
            else 'run `make bootstrap`, and start with .venv/bin/xvla',
        )
    return Finding(level=OK, name='packages', found=', '.join(found))


def _without_ros() -> Finding:
    found = 'installed by pip, without the ROS nodes'
    fix = 'for xvla demo, record, live replay and real robots: `make build` in a checkout'
    return Finding(level=WARNING, name='ROS', found=found, fix=fix)


def _ros() -> Finding:
    where = f'domain {os.environ.get("ROS_DOMAIN_ID", "0")}'
    try:
        import rclpy

        name = rclpy.get_rmw_implementation_identifier()
    except ImportError as error:
        fix = 'source /opt/ros/jazzy/setup.bash, or run `make bootstrap` on a machine without ROS'
        return Finding(level=PROBLEM, name='ROS', found=f'rclpy: {error}', fix=fix)
    if 'fastrtps' not in name:
        fix = 'measured with rmw_fastrtps_cpp only; mind the size of shared-memory buffers'
        return Finding(level=WARNING, name='ROS', found=f'{name}, {where}', fix=fix)
    return Finding(level=OK, name='ROS', found=f'{name}, {where}')


def _messages() -> Finding:
    try:
        import_module('xvla_ros.msg').EndEffectorCommand()
    except Exception as error:  # missing, half built, or for another Python
        return Finding(level=PROBLEM, name='messages', found=str(error), fix='run `make build`')
    return Finding(level=OK, name='messages', found='built')


def _device(embodiment: Embodiment | None) -> Finding:
    wanted = embodiment.policy.device if embodiment else ''
    try:
        import torch
    except ImportError:
        return Finding(level=PROBLEM, name='device', found='no torch', fix='run `make bootstrap`')
    if not torch.cuda.is_available():
        found = f'no GPU for torch {torch.__version__}'
        if wanted.startswith('cuda'):
            fix = 'install driver and requirements/torch-cuda.txt, or ask a server (server_url)'
            return Finding(level=PROBLEM, name='device', found=found, fix=fix)
        return Finding(level=OK, name='device', found=f'{found}, {os.cpu_count()} processors')
    properties = torch.cuda.get_device_properties(0)
    found = f'{properties.name}, {properties.total_memory / 2**30:.0f} GB'
    if embodiment and not wanted.startswith('cuda') and not embodiment.policy.server_url:
        fix = f"policy.device is '{wanted}': set it to 'cuda'"
        return Finding(level=WARNING, name='device', found=found, fix=fix)
    return Finding(level=OK, name='device', found=found)


def _transport() -> Finding:
    """Check the Fast DDS profile that this package's processes will use."""
    chosen = {**transport_environment(), **os.environ}
    path = next((chosen[name] for name in PROFILE_VARIABLES if name in chosen), '')
    try:
        tree = ElementTree.parse(path)
    except (OSError, ElementTree.ParseError) as error:
        fix = f'unset {PROFILE_VARIABLES[0]} to use the profile of this package'
        return Finding(level=PROBLEM, name='DDS profile', found=f'{path}: {error}', fix=fix)
    sizes = [int(e.text or 0) for e in tree.iter() if e.tag.endswith('segment_size')]
    largest = max(sizes, default=0)
    if largest < LEAST_SEGMENT_BYTES:
        return Finding(
            level=PROBLEM,
            name='DDS profile',
            found=f'{path}: shared-memory segment of {largest / 2**20:.1f} MB',
            fix='camera images will be lost: use config/fastdds.xml, in every process that sends',
        )
    return Finding(
        level=OK, name='DDS profile', found=f'segment of {largest / 2**20:.0f} MB ({path})'
    )


def _shared_memory() -> Finding:
    folder = Path('/dev/shm')
    if not os.access(folder, os.W_OK):
        fix = 'mount it writable; containers: --ipc=host or --shm-size=1g'
        return Finding(level=PROBLEM, name='/dev/shm', found='cannot be written', fix=fix)
    free = shutil.disk_usage(folder).free
    left = len(list(folder.glob('fastrtps_*')))
    found = f'{free / 2**20:.0f} MB free, {left} segments of Fast DDS'
    if free < LEAST_SHM_BYTES:
        fix = 'containers: --ipc=host or --shm-size=1g; else end old processes, then rm fastrtps_*'
        return Finding(level=PROBLEM, name='/dev/shm', found=found, fix=fix)
    return Finding(level=OK, name='/dev/shm', found=found)


def _clock() -> Finding:
    """Ask the kernel whether the clock is synchronised."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    if state == TIME_ERROR:
        fix = 'needed when cameras or arms are on other machines: run chrony or systemd-timesyncd'
        return Finding(level=WARNING, name='clock', found='not synchronised', fix=fix)
    return Finding(level=OK, name='clock', found='synchronised' if state >= 0 else 'unknown')


def _governor() -> Iterator[Finding]:
    """Check the power saving of the processor, if the kernel shows it."""
    try:
        path = Path('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
        governor = path.read_text(encoding='ascii').strip()
    except OSError:
        return
    if governor == 'powersave':
        fix = 'adds milliseconds to wake-ups: cpupower frequency-set -g performance'
        yield Finding(level=WARNING, name='processor', found='governor powersave', fix=fix)
    else:
        yield Finding(level=OK, name='processor', found=f'governor {governor}')
