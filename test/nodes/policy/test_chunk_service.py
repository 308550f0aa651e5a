# SPDX-License-Identifier: Apache-2.0
"""~/get_action_chunk: plans for a caller that executes them itself, and every reason for none."""

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import pytest
from std_msgs.msg import String
from std_srvs.srv import SetBool

from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.msg import ActionChunk, PolicyStatus
from xvla_ros.srv import GetActionChunk

pytestmark = pytest.mark.ros
RED = 'pick up the red block'


@pytest.fixture
def disarmed(rig, policy):
    """Have an active policy without an instruction that moves nothing."""
    rig.heal()
    rig.instruction.publish(String(data=''))
    assert rig.call(SetBool, 'arm', SetBool.Request(data=False)).success
    rig.wait_state(PolicyStatus.STATE_IDLE)
    yield policy
    rig.heal()
    rig.wait(lambda: rig.call(SetBool, 'arm', SetBool.Request(data=True)).success, what='arming')


def ask(rig, instruction='', timeout_s=60):
    request = GetActionChunk.Request(instruction=instruction)
    request.timeout.sec = timeout_s
    return rig.call(GetActionChunk, 'get_action_chunk', request, timeout_s=90.0)


def test_each_answer_is_a_plan_of_an_observation_after_the_request(rig, disarmed):
    asked_ns = rig.now_ns()
    first = ask(rig, RED)
    assert first.success, first.message
    assert first.chunk.verdict in (ActionChunk.VERDICT_ACCEPTED, ActionChunk.VERDICT_CLAMPED)
    assert len(first.chunk.steps) == 30
    assert stamp_to_ns(first.chunk.header.stamp) >= asked_ns
    again_ns = rig.now_ns()
    second = ask(rig)
    assert stamp_to_ns(second.chunk.header.stamp) >= again_ns
    assert second.chunk.sequence > first.chunk.sequence
    assert not rig.moving()


def test_without_an_instruction_there_is_no_plan(rig, disarmed):
    answer = ask(rig)
    assert not answer.success
    assert 'no instruction' in answer.message


def test_a_rejected_plan_is_no_success_and_says_why(rig, disarmed):
    far = rig.pose.position.copy()
    far[1] += 0.3
    rig.pose = type(rig.pose)(position=far, quaternion=rig.pose.quaternion, gripper=1.0)
    try:
        answer = ask(rig, RED)
    finally:
        rig.pose = rig.home
    assert not answer.success
    assert answer.chunk.verdict == ActionChunk.VERDICT_REJECTED
    assert answer.message


def test_no_plan_in_time_names_what_the_policy_waits_for(rig, disarmed):
    rig.cameras.discard('main')
    answer = ask(rig, RED, timeout_s=3)
    assert not answer.success
    assert 'no plan in time' in answer.message
    assert 'main' in answer.message


def test_an_armed_policy_refuses(rig, running):
    answer = ask(rig, RED)
    assert not answer.success
    assert 'disarm' in answer.message


def test_a_request_that_waits_is_answered_when_the_policy_is_deactivated(rig, disarmed):
    rig.cameras.discard('main')
    client = rig.node.create_client(GetActionChunk, 'policy_node/get_action_chunk')
    assert client.wait_for_service(20.0)
    request = GetActionChunk.Request(instruction=RED)
    request.timeout.sec = 300
    waits = client.call_async(request)
    rig.wait_state(PolicyStatus.STATE_WAITING)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        change = ChangeState.Request(transition=Transition(id=transition))
        assert rig.call(ChangeState, 'change_state', change).success
        rig.wait(waits.done, what='the answer')
    assert 'not active' in waits.result().message
    rig.node.destroy_client(client)
