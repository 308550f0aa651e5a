# SPDX-License-Identifier: Apache-2.0
"""
What every test process shares: a ROS domain of its own, hypothesis profiles, the order of folders.

Imports nothing of ROS: the tests of the core run without it.
"""

import fcntl
import os
from pathlib import Path
import random
import socket
import tempfile

from hypothesis import HealthCheck, settings

FULL = os.environ.get('XVLA_TEST_FULL', '') not in ('', '0')
ORDER = ('core', 'package', 'embodiments', 'model', 'control', 'sim', 'serve', 'adapt')
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
settings.register_profile('ci', max_examples=100, derandomize=True, **_common)
settings.register_profile('full', max_examples=10_000, **_common)
settings.load_profile('full' if FULL else 'ci')


def pytest_collection_modifyitems(items):
    """Run the quick layers first, so that a broken rotation is not found after ten minutes."""
    here = Path(__file__).parent

    def rank(item):
        folder = item.path.relative_to(here).parts[0]
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=rank)
