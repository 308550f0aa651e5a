# SPDX-License-Identifier: Apache-2.0
"""The lifecycle of the policy node, again and again, without leaving anything behind."""

from pathlib import Path

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import psutil
import pytest
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from std_msgs.msg import String

from xvla_ros.msg import PolicyStatus

pytestmark = pytest.mark.ros
CONFIGURE_S = 120.0


@pytest.fixture(scope='module')
def unconfigured(rig, start_policy, overrides):
    runner = start_policy({**overrides, 'autostart': False})
    rig.wait(lambda: rig.status.message == 'not configured', CONFIGURE_S)
    return runner


def shared_memory(process):
    """Return the DDS segments that a process uses and this one, the rig, does not."""
    segments = {Path(m.path) for m in process.memory_maps() if '/dev/shm/fastrtps_' in m.path}
    return {s for s in segments if 'port' not in s.name and Path(f'{s}_el').exists()} - {
        Path(m.path) for m in psutil.Process().memory_maps()
    }


def change(rig, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return rig.call(ChangeState, 'change_state', request, CONFIGURE_S).success


def test_two_whole_lives(rig, unconfigured):
    process = psutil.Process(unconfigured.pid('policy_node'))
    for _ in range(2):
        assert change(rig, Transition.TRANSITION_CONFIGURE)
        (worker,) = process.children()
        assert change(rig, Transition.TRANSITION_ACTIVATE)
        rig.heal()
        rig.instruction.publish(String(data='pick up the red block'))
        rig.wait_state(PolicyStatus.STATE_RUNNING)
        rig.wait(rig.moving)
        segments = shared_memory(worker)
        assert segments
        assert not shared_memory(process), 'a listener could hold it up'
        rig.targets.clear()
        assert change(rig, Transition.TRANSITION_DEACTIVATE)
        rig.wait(lambda: rig.targets and rig.targets[-1][1].hold, what='the last hold')
        assert change(rig, Transition.TRANSITION_CLEANUP)
        assert not process.children(), 'the worker outlived its node'
        assert not any(segment.exists() for segment in segments), 'it did not sign off from DDS'
        rig.instruction.publish(String(data=''))
        rig.pose = rig.home


def test_parameters_are_described_and_few_may_be_set_while_it_runs(rig, unconfigured):
    assert change(rig, Transition.TRANSITION_CONFIGURE)
    names = [
        'control.rate_hz',
        'limits.max_linear_speed_m_s',
        'control.strategy',
        'policy.checkpoint',
    ]
    answer = rig.call(
        DescribeParameters, 'describe_parameters', DescribeParameters.Request(names=names)
    )
    assert all(d.description for d in answer.descriptors)
    assert [d.read_only for d in answer.descriptors] == [True, False, False, False]
    parameters = [Parameter(names[0], value=10.0).to_parameter_msg()]
    refused = rig.call(
        SetParameters, 'set_parameters', SetParameters.Request(parameters=parameters)
    )
    assert not refused.results[0].successful
    assert 'read-only' in refused.results[0].reason
    assert change(rig, Transition.TRANSITION_ACTIVATE)
    for strategy, known in (('inpaint', True), ('nonsense', False)):
        parameters = [Parameter(names[2], value=strategy).to_parameter_msg()]
        answer = rig.call(
            SetParameters, 'set_parameters', SetParameters.Request(parameters=parameters)
        )
        assert answer.results[0].successful == known
    rig.instruction.publish(String(data='pick up the red block'))
    rig.wait_state(PolicyStatus.STATE_RUNNING)  # with the prefix of real-time chunking
    rig.instruction.publish(String(data=''))
