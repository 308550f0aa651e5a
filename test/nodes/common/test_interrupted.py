# SPDX-License-Identifier: Apache-2.0
"""A node that a shell script starts with `&` inherits an ignored SIGINT, and still ends on it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from xvla_ros.core.resources import shared_file

pytestmark = pytest.mark.ros
START_S = 60.0


def ignoring_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def handles_interrupts(pid):
    """Return whether a process has a handler for SIGINT of its own (proc(5))."""
    with open(f'/proc/{pid}/status') as file:
        caught = next(line for line in file if line.startswith('SigCgt')).split()[1]
    return bool(int(caught, 16) & 1 << (signal.SIGINT - 1))


@pytest.mark.parametrize('node', ['policy', 'controller', 'sim'])
def test_it_ends_on_an_interrupt(node):
    config = str(shared_file('config', 'franka_sim.yaml'))
    command = [
        sys.executable,
        '-m',
        f'xvla_ros.nodes.{node}',
        '--ros-args',
        '--params-file',
        config,
    ]
    process = subprocess.Popen(
        [*command, '-p', 'autostart:=false'], preexec_fn=ignoring_interrupts
    )
    deadline = time.monotonic() + START_S
    while not handles_interrupts(process.pid) and process.poll() is None:
        assert time.monotonic() < deadline, 'it never handled interrupts'
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    try:
        assert process.wait(START_S) in (0, -signal.SIGINT)
    finally:
        process.kill()
