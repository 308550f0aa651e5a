# SPDX-License-Identifier: Apache-2.0
"""demo.launch.py starts a system whose arm moves, and ends it cleanly."""

import time
import unittest

import pytest

pytest.importorskip(
    'launch_testing', reason='launch_testing is not installed (apt: ros-jazzy-launch-testing-ros)'
)

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest
import launch_testing.asserts
import rclpy

from launch import LaunchDescription
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import EndEffectorCommand

START_S = 120.0


@pytest.mark.launch_test
def generate_test_description():
    """Include the launch file as a user would."""
    source = PythonLaunchDescriptionSource(str(shared_file('launch', 'demo.launch.py')))
    return LaunchDescription([IncludeLaunchDescription(source), ReadyToTest()])


class TestDemo(unittest.TestCase):
    """While it runs."""

    def test_targets_are_sent(self):
        """Wait for targets to follow."""
        rclpy.init()
        node = rclpy.create_node('listener')
        heard = []
        node.create_subscription(
            EndEffectorCommand, 'policy_node/target', lambda m: heard.append(m.hold), 10
        )
        deadline = time.monotonic() + START_S
        while heard.count(False) < 50 and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.1)
        node.destroy_node()
        rclpy.shutdown()
        assert heard.count(False) >= 50


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """Afterwards."""

    def test_exit_codes(self, proc_info):
        """Ask for a clean end of every process."""
        launch_testing.asserts.assertExitCodes(proc_info)
