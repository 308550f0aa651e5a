# SPDX-License-Identifier: Apache-2.0
"""sim.launch.py in dry run: the policy plans after an instruction, and moves when armed."""

from collections.abc import Callable
from importlib.util import find_spec
import time
import unittest

import pytest

pytest.importorskip(
    'launch_testing', reason='launch_testing is not installed (apt: ros-jazzy-launch-testing-ros)'
)
if not (find_spec('torch') and find_spec('mujoco') and find_spec('pinocchio')):
    pytest.skip('policy and simulation need torch, mujoco, pinocchio', allow_module_level=True)

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest
import launch_testing.asserts
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import SetBool

from launch import LaunchDescription
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import ActionChunk, EndEffectorCommand

DEADLINE_S = 300.0


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    """Include the launch file as a user would, with another robot, in dry run."""
    source = PythonLaunchDescriptionSource(str(shared_file('launch', 'sim.launch.py')))
    # policy.nice: a worker that starts at low priority would starve on a loaded machine.
    given = {'embodiment': 'widowx', 'armed': 'false', 'policy.nice': '0'}
    arguments = given.items()
    include = IncludeLaunchDescription(source, launch_arguments=arguments)
    return LaunchDescription([include, ReadyToTest()])


class TestRehearsal(unittest.TestCase):
    """From a policy without an instruction to a moving arm."""

    def setUp(self) -> None:
        """Listen to plans and targets."""
        rclpy.init()
        self.node = rclpy.create_node('listener')
        self.chunks = self.targets = 0
        self.node.create_subscription(ActionChunk, 'policy_node/action_chunk', self._on_chunk, 10)
        self.node.create_subscription(
            EndEffectorCommand, 'policy_node/target', self._on_target, 10
        )

    def tearDown(self) -> None:
        """Stop listening."""
        self.node.destroy_node()
        rclpy.shutdown()

    def _on_chunk(self, message: ActionChunk) -> None:
        self.chunks += 1

    def _on_target(self, message: EndEffectorCommand) -> None:
        self.targets += 1

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline, f'waited {DEADLINE_S:.0f} s for {what}'
            rclpy.spin_once(self.node, timeout_sec=0.1)

    def test_it_plans_after_an_instruction_and_moves_when_armed(self) -> None:
        """Give an instruction, wait for a chunk, arm, wait for targets."""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        instruction = self.node.create_publisher(String, 'instruction', latched)
        instruction.publish(String(data='pick up the red block'))
        self._wait(lambda: self.chunks >= 3, 'plans')
        assert self.targets == 0
        arm = self.node.create_client(SetBool, 'policy_node/arm')
        self._wait(arm.service_is_ready, 'the arm service')
        answer = arm.call_async(SetBool.Request(data=True))
        self._wait(answer.done, 'arming')
        self._wait(lambda: self.targets >= 50, 'targets')


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After the run."""

    def test_every_process_ends_cleanly(self, proc_info: object) -> None:
        """Ask for exit codes of zero."""
        launch_testing.asserts.assertExitCodes(proc_info)
