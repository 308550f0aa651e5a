# SPDX-License-Identifier: Apache-2.0
"""A real controller node is killed, and another one started, while the policy moves the arm."""

import os
import signal

import pytest
from std_srvs.srv import SetBool

from xvla_ros.bringup import processes
from xvla_ros.bringup.runner import Runner
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import ControllerStatus, PolicyStatus
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS, CONTROLLER_STATUS_TOPIC

pytestmark = pytest.mark.ros
HOLDING, RUNNING = PolicyStatus.STATE_HOLDING, PolicyStatus.STATE_RUNNING
PATIENCE_S = 60.0


@pytest.fixture
def start_controller(rig, overrides, tmp_path):
    """Return a function that starts a controller node; all end with the test."""
    runners = []

    def start():
        given = {**overrides, 'use_sim_time': False}
        path = shared_file('config', 'franka_sim.yaml')
        table = {p.name: p for p in processes(path, sim=False, overrides=given)}
        runners.append(Runner(tmp_path / str(len(runners))))
        runners[-1].start(table['controller_node'])
        return runners[-1]

    yield start
    for runner in runners:
        runner.stop()


@pytest.fixture
def heard(rig):
    """Collect what controllers say."""
    statuses = []
    subscription = rig.node.create_subscription(
        ControllerStatus, CONTROLLER_STATUS_TOPIC, statuses.append, CONTROLLER_STATUS_QOS
    )
    yield statuses
    rig.node.destroy_subscription(subscription)


def arm(rig, armed=True):
    return rig.call(SetBool, 'arm', SetBool.Request(data=armed))


def wait_until_executed(rig, heard):
    rig.wait_state(RUNNING, timeout_s=PATIENCE_S)
    rig.wait(lambda: heard and heard[-1].executed > 10, PATIENCE_S, 'the controller to execute')


def test_a_killed_controller_is_noticed_and_its_successor_moves_when_armed(
    rig, running, start_controller, heard
):
    first = start_controller()
    wait_until_executed(rig, heard)
    os.kill(first.pid('controller_node'), signal.SIGKILL)
    rig.wait_state(HOLDING, timeout_s=PATIENCE_S, saying='no sign of life')
    heard.clear()
    second = start_controller()
    rig.wait_state(HOLDING, timeout_s=PATIENCE_S, saying='arm again')
    assert not rig.status.armed
    rig.wait(lambda: len(heard) > 10, PATIENCE_S, 'the new controller to have had time')
    assert all(status.executed == 0 for status in heard)
    assert arm(rig).success
    wait_until_executed(rig, heard)
    second.stop()
    rig.wait_state(HOLDING, timeout_s=PATIENCE_S, saying='the controller is gone')
    answer = arm(rig)
    assert not answer.success
    assert 'the controller is gone' in answer.message
    assert arm(rig, False).success, 'a dry run needs no controller'
    rig.wait_state(PolicyStatus.STATE_DRY_RUN)


def test_a_restart_that_dds_tells_first_is_noticed_too(rig, policy, start_controller, heard):
    """The successor is there before anybody can know that the first is dead."""
    rig.heal()
    rig.pose = rig.home
    first = start_controller()
    rig.wait(lambda: arm(rig).success, PATIENCE_S, 'to arm')
    wait_until_executed(rig, heard)
    os.kill(first.pid('controller_node'), signal.SIGKILL)
    heard.clear()
    start_controller()
    rig.wait_state(HOLDING, timeout_s=PATIENCE_S, saying='arm again')
    rig.wait(lambda: len(heard) > 10, PATIENCE_S, 'the new controller to have had time')
    assert all(status.executed == 0 for status in heard)
