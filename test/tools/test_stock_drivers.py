# SPDX-License-Identifier: Apache-2.0
"""`xvla doctor --live` finds nothing to fix where a robot's stock drivers run as they ship."""

from contextlib import contextmanager
from pathlib import Path
import subprocess
import sys
import time

from counts import FULL
import pytest

pytest.importorskip('rclpy', reason='a live system needs ROS')

from stock_drivers import STOCK

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.tools.doctor import live
from xvla_ros.tools.doctor.machine import PROBLEM
from xvla_ros.tools.doctor.robot import robot_findings

pytestmark = pytest.mark.ros
SCRIPT = Path(__file__).parents[1] / 'support' / 'stock_drivers.py'
LISTEN_S, DISCOVERY_S = (5.0, 2.0) if FULL else (0.6, 0.6)
ROBOTS = [robot for robot in STOCK if FULL or robot != 'agilex_joint0']
# A loaded machine may starve a driver of Python for a while: look again.
PATIENCE_S = 60.0


@contextmanager
def stock(robot):
    """Run a robot's drivers, as they ship, in a process of their own."""
    process = subprocess.Popen([sys.executable, SCRIPT, robot])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize('robot', ROBOTS)
def test_nothing_is_to_fix_beside_the_stock_drivers(robot, monkeypatch):
    monkeypatch.setattr(live, 'DISCOVERY_S', DISCOVERY_S)
    embodiment = load_embodiment(shared_file('config', f'{robot}.yaml'))
    until = time.monotonic() + PATIENCE_S
    with stock(robot) as drivers:
        while True:
            findings = live.live_findings(embodiment, LISTEN_S)
            assert drivers.poll() is None
            wrong = [f for f in findings if f.fix]
            if not wrong or time.monotonic() > until:
                break
    assert not wrong
    assert len(findings) >= len(embodiment.cameras) + 2 * len(embodiment.arms)
    assert [f.found for f in robot_findings(embodiment) if f.level == PROBLEM] == []


@pytest.mark.skipif(not FULL, reason='in the full run')
def test_a_gripper_that_is_read_as_its_neighbour_is_found():
    """The Piper that counts joints from 0, beside the file of one that counts from 1."""
    embodiment = load_embodiment(shared_file('config', 'agilex.yaml'))
    with stock('agilex_joint0'):
        findings = live.live_findings(embodiment, LISTEN_S)
    (left,) = [f for f in findings if f.name.startswith('arm left')]
    assert left.fix
