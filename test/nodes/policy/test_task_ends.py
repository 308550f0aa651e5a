# SPDX-License-Identifier: Apache-2.0
"""Every goal of ~/run_task ends, with a reason, whatever is asked for at the same time."""

import os
import signal
import time

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
from std_msgs.msg import String
from std_srvs.srv import Trigger

from xvla_ros.action import RunTask
from xvla_ros.msg import PolicyStatus

pytestmark = pytest.mark.ros
IDLE, RUNNING, FAULT = (
    PolicyStatus.STATE_IDLE,
    PolicyStatus.STATE_RUNNING,
    PolicyStatus.STATE_FAULT,
)


def change(rig, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    assert rig.call(ChangeState, 'change_state', request).success


@pytest.fixture
def idle(rig, running):
    rig.instruction.publish(String(data=''))
    rig.wait_state(IDLE)
    return running


def test_a_goal_canceled_before_it_begins_moves_nothing(rig, idle):
    cancel = rig.node.create_client(CancelGoal, 'policy_node/run_task/_action/cancel_goal')
    assert cancel.wait_for_service(20.0)
    assert rig.tasks.wait_for_server(20.0)
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:  # the executor decides what it serves first
        goals, result = cancel_at_once(rig, cancel, idle.pid('policy_node'))
        assert result.status == GoalStatus.STATUS_CANCELED
        assert result.result.outcome == RunTask.Result.OUTCOME_CANCELED
        assert 'canceled' in result.result.message
        rig.wait_state(IDLE)
        if result.result.message == 'canceled before it began':
            assert goals == 1
            assert result.result.chunks == 0
            return
    raise AssertionError('no goal was canceled before it began')


def cancel_at_once(rig, cancel, pid):
    """Send a goal and its end while the node sleeps; return how many it canceled, and the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        goal = RunTask.Goal(instruction='pick up the red block')
        sent = rig.send(lambda: rig.tasks.send_goal_async(goal))
        canceled = cancel.call_async(CancelGoal.Request())  # all goals
        time.sleep(0.2)  # for both to be on their way
    finally:
        os.kill(pid, signal.SIGCONT)
    rig.wait(sent.done)
    rig.wait(canceled.done)
    goals = len(canceled.result().goals_canceling)
    if goals == 0:  # it came before the goal
        rig.wait(rig.send(sent.result().cancel_goal_async).done)
    ended = rig.send(sent.result().get_result_async)
    rig.wait(ended.done)
    return goals, ended.result()


def test_going_home_ends_the_task_and_not_the_other_way_round(rig, running):
    ended = rig.send(rig.start_task(timeout_s=60.0).get_result_async)
    rig.wait_state(RUNNING)
    rig.wait(lambda: np.linalg.norm(rig.pose.position - rig.home.position) > 0.01)
    answer = rig.call(Trigger, 'home', Trigger.Request())
    assert answer.success, answer.message
    rig.wait(ended.done)
    assert ended.result().result.outcome == RunTask.Result.OUTCOME_PREEMPTED
    assert ended.result().result.message == 'going home'
    rig.wait(lambda: np.linalg.norm(rig.pose.position - rig.home.position) < 0.002)


def test_home_is_refused_while_something_holds(rig, running):
    rig.held = False
    rig.wait_state(PolicyStatus.STATE_HOLDING, saying='deadman')
    answer = rig.call(Trigger, 'home', Trigger.Request())
    assert not answer.success
    assert 'deadman' in answer.message
    rig.pressed = True
    rig.wait_state(FAULT)
    answer = rig.call(Trigger, 'home', Trigger.Request())
    assert not answer.success
    assert 'e-stop pressed' in answer.message
    rig.pressed = False
    rig.wait(lambda: rig.call(Trigger, 'reset', Trigger.Request()).success)


def test_deactivation_ends_the_task_and_keeps_the_e_stop(rig, running):
    ended = rig.send(rig.start_task().get_result_async)
    begun = rig.status.chunks
    rig.wait(lambda: rig.status.chunks > begun + 3, what='chunks of the goal')
    change(rig, Transition.TRANSITION_DEACTIVATE)
    rig.wait(ended.done, what='the result of the goal')
    assert ended.result().status == GoalStatus.STATUS_ABORTED
    assert 'deactivated' in ended.result().result.message
    change(rig, Transition.TRANSITION_ACTIVATE)
    rig.pressed = True
    rig.wait_state(FAULT)
    rig.pressed = None  # what it said last is remembered
    change(rig, Transition.TRANSITION_DEACTIVATE)
    change(rig, Transition.TRANSITION_ACTIVATE)
    assert not rig.call(Trigger, 'reset', Trigger.Request()).success
    rig.pressed = False
    rig.wait(lambda: rig.call(Trigger, 'reset', Trigger.Request()).success)
