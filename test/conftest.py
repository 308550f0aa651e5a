# SPDX-License-Identifier: Apache-2.0
"""
What every test process shares: a ROS domain of its own, hypothesis profiles, the order of folders.

Imports nothing of ROS or torch: the tests of the core run without them.
"""

import fcntl
import os
from pathlib import Path
import random
import socket
import tempfile

from counts import FULL
from hypothesis import HealthCheck, settings
import missing_packages

# All tests of these folders and files neither talk over DDS nor keep time. `make test` runs them
# first, because they use every core all the time.
COMPUTING = (
    *('core/', 'runtime/', 'model/', 'sim/', 'serve/', 'adapt/', 'bags/', 'package/', 'data/'),
    *('control/test_kinematics.py', 'embodiments/test_files.py'),
    *('embodiments/test_reference_page.py', 'replay/test_deterministic.py'),
    *('replay/test_report.py', 'replay/test_testing.py', 'tools/'),
)
LIVE = (
    'package/test_fastdds.py',
    'tools/test_doctor.py',
    'data/test_rosbag_live.py',
    'tools/test_stock_drivers.py',
)  # of those folders nevertheless
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ['OMP_NUM_THREADS'] = '1'  # one core for each worker
ORDER = (
    *('core', 'package', 'embodiments', 'model', 'control', 'sim', 'serve', 'bags', 'runtime'),
    'adapt',
)
_held = []  # open lock files: the domain is ours while this process lives


def _is_silent(domain):
    """Tell whether no DDS participant of this machine has the first unicast port of a domain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', 7410 + 250 * domain))
        except OSError:
            return False
    return True


def _claim_domain():
    """Return an unused ROS domain, locked while this process lives; above 101 ports clash."""
    for domain in random.SystemRandom().sample(range(10, 102), 92):
        path = Path(tempfile.gettempdir()) / f'ros_domain_{domain}.lock'
        try:
            lock = path.open('a')
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        if _is_silent(domain):
            _held.append(lock)
            return domain
        lock.close()
    raise RuntimeError('every ROS domain from 10 to 101 is in use on this machine')


os.environ['ROS_DOMAIN_ID'] = str(_claim_domain())
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.setdefault('ROS_LOG_DIR', str(Path(__file__).parent.parent / 'log' / 'ros'))

_common = {'deadline': None, 'suppress_health_check': [HealthCheck.too_slow]}
settings.register_profile('ci', max_examples=50, derandomize=True, **_common)
settings.register_profile('full', max_examples=10_000, **_common)
settings.load_profile('full' if FULL else 'ci')


def pytest_configure(config):
    config.pluginmanager.register(missing_packages)


def pytest_collection_modifyitems(items):
    """
    Mark what talks over DDS or keeps time as live, and sort by layers.

    Quick layers come first, so that a broken rotation is not found after ten minutes.
    """
    for item in items:
        if _is_live(_place(item)):
            item.add_marker('live')
    items.sort(key=_rank)


def _place(item):
    return item.path.relative_to(Path(__file__).parent).as_posix()


def _is_live(place):
    return not place.startswith(COMPUTING) or place in LIVE


def _rank(item):
    folder = _place(item).split('/')[0]
    return ORDER.index(folder) if folder in ORDER else len(ORDER)
