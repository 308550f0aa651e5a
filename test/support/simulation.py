# SPDX-License-Identifier: Apache-2.0
"""A simulated robot that is started as a process, found over DDS, and ended."""

import signal
import subprocess
import time

import pytest

START_S = 120


def runs_and_ends(command, environment, cwd=None):
    """Start the Franka's simulation, wait until it publishes, and end it with SIGINT."""
    rclpy = pytest.importorskip('rclpy', reason='the simulation needs ROS')
    process = subprocess.Popen(command, env=environment, cwd=cwd)
    rclpy.init()
    node = rclpy.create_node('onlooker')
    try:
        deadline = time.monotonic() + START_S
        while not node.count_publishers('/joint_states'):
            assert process.poll() is None, 'the simulation has ended'
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 0
    finally:
        process.kill()
        node.destroy_node()
        rclpy.shutdown()
