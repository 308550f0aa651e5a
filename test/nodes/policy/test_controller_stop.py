# SPDX-License-Identifier: Apache-2.0
"""A controller that has stopped the arms: the policy says so, holds, and predicts nothing."""

import pytest
from spun import destroy_publisher
from std_msgs.msg import String

from xvla_ros.action import RunTask
from xvla_ros.msg import ControllerStatus, PolicyStatus
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS, CONTROLLER_STATUS_TOPIC

pytestmark = pytest.mark.ros
BLOCKED = 'arm does not follow: 90 mm'
HOLDING, RUNNING = PolicyStatus.STATE_HOLDING, PolicyStatus.STATE_RUNNING


@pytest.fixture(scope='module')
def voice(rig):
    """Speak for one controller through all tests: another one would disarm the robot."""
    publisher = rig.node.create_publisher(
        ControllerStatus, CONTROLLER_STATUS_TOPIC, CONTROLLER_STATUS_QOS
    )
    yield publisher
    destroy_publisher(rig.node, publisher)


@pytest.fixture
def controller(rig, voice):
    """Say what the controller says, and in the end that it obeys."""

    def say(state, reason=''):
        voice.publish(ControllerStatus(state=state, reason=reason))
        rig.wait(lambda: rig.status.controller_state == state, what='the policy to hear it')

    yield say
    say(ControllerStatus.STATE_HOLDING)


def test_before_the_first_word_its_state_is_unknown(rig, running):
    assert rig.status.controller_state == PolicyStatus.CONTROLLER_UNKNOWN
    assert rig.status.controller_reason == ''


def test_a_stop_holds_and_ends_inference_until_it_is_over(rig, running, controller):
    controller(ControllerStatus.STATE_STOPPED, BLOCKED)
    rig.wait_state(HOLDING)
    assert BLOCKED in rig.status.message
    assert rig.status.controller_reason == BLOCKED
    rig.forget()
    rig.wait(lambda: len(rig.statuses) > 3, what='an answer under way to arrive')
    chunks = rig.status.chunks
    rig.targets.clear()
    rig.forget()
    rig.wait(lambda: len(rig.statuses) > 10 and len(rig.targets) > 20, what='time to pass')
    assert rig.status.chunks == chunks
    assert all(message.hold for _, message in tuple(rig.targets))
    controller(ControllerStatus.STATE_HOLDING)
    rig.wait_state(RUNNING)
    rig.wait(lambda: rig.status.chunks > chunks, what='chunks')


def test_a_stop_ends_the_goal_and_refuses_the_next(rig, running, controller):
    handle = rig.start_task()
    ended = rig.send(handle.get_result_async)
    rig.wait_state(RUNNING)
    controller(ControllerStatus.STATE_STOPPED, BLOCKED)
    rig.wait(ended.done, what='the goal to end')
    assert ended.result().result.outcome == RunTask.Result.OUTCOME_FAULT
    assert BLOCKED in ended.result().result.message
    assert rig.start_task() is None
    controller(ControllerStatus.STATE_HOLDING)
    rig.instruction.publish(String(data='pick up the red block'))
    rig.wait_state(RUNNING)
