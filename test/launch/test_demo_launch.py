# SPDX-License-Identifier: Apache-2.0
"""demo.launch.py: targets come, deactivation holds, a killed worker restarts, all ends cleanly."""

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
import os
import signal
import time
import unittest

import psutil
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
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import rclpy

from launch import LaunchDescription
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import EndEffectorCommand

DEADLINE_S = 300.0
WORKER = 'xvla_ros.nodes.inference_worker'


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    """Include the launch file as a user would."""
    source = PythonLaunchDescriptionSource(str(shared_file('launch', 'demo.launch.py')))
    # A worker that starts again at low priority would starve on a loaded machine.
    include = IncludeLaunchDescription(source, launch_arguments={'policy.nice': '0'}.items())
    return LaunchDescription([include, ReadyToTest()])


def workers() -> list[psutil.Process]:
    """Return the inference workers below this process, without those that are dying."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [process] if WORKER in ' '.join(process.cmdline()) else []
    return found


class TestDemo(unittest.TestCase):
    """The running demo, in one test because each step needs the one before."""

    def setUp(self) -> None:
        """Listen to the targets."""
        rclpy.init()
        self.node = rclpy.create_node('listener')
        self.moving = 0
        self.node.create_subscription(
            EndEffectorCommand, 'policy_node/target', self._on_target, 10
        )

    def tearDown(self) -> None:
        """Stop listening."""
        self.node.destroy_node()
        rclpy.shutdown()

    def _on_target(self, message: EndEffectorCommand) -> None:
        self.moving += not message.hold

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline, f'waited {DEADLINE_S:.0f} s for {what}'
            rclpy.spin_once(self.node, timeout_sec=0.1)

    def _targets_flow(self) -> None:
        self.moving = 0
        self._wait(lambda: self.moving >= 50, 'targets')

    def _change(self, transition: int) -> None:
        client = self.node.create_client(ChangeState, 'policy_node/change_state')
        self._wait(client.service_is_ready, 'the lifecycle service')
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = client.call_async(request)
        self._wait(answer.done, 'the transition')
        assert answer.result().success

    def _quiet(self, seconds: float) -> bool:
        """Return whether no target without `hold` came for a time."""
        self.moving, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.1)
        return self.moving == 0

    def test_targets_flow_stop_on_deactivation_and_return_after_a_crash(self) -> None:
        """Follow one run from its start to its end."""
        self._targets_flow()
        self._change(Transition.TRANSITION_DEACTIVATE)
        self._wait(lambda: self._quiet(1.0), 'a hold after deactivation')
        self._change(Transition.TRANSITION_ACTIVATE)
        self._targets_flow()
        (first,) = workers()
        os.kill(first.pid, signal.SIGKILL)
        self._wait(lambda: any(w.pid != first.pid for w in workers()), 'a new worker')
        self._targets_flow()


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After the run."""

    def test_every_process_ends_cleanly(self, proc_info: object) -> None:
        """Ask for exit codes of zero and no worker left."""
        launch_testing.asserts.assertExitCodes(proc_info)
        assert not workers()
