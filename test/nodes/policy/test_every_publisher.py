# SPDX-License-Identifier: Apache-2.0
"""Whatever quality of service a publisher has: its stop, its deadman and its instruction count."""

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from spun import destroy_publisher
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from xvla_ros.msg import PolicyStatus

pytestmark = pytest.mark.ros
FAULT, RUNNING = PolicyStatus.STATE_FAULT, PolicyStatus.STATE_RUNNING
VOLATILE = QoSProfile(depth=1)
SENSOR = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
every_publisher = pytest.mark.parametrize(
    'qos', [VOLATILE, SENSOR, LATCHED], ids=['volatile', 'best effort', 'latched']
)


@pytest.fixture
def publish(rig):
    """Return a function that publishes once everybody who can hear it is there."""
    made = []

    def once(kind, topic, qos, data):
        publisher = rig.node.create_publisher(kind, topic, qos)
        made.append(publisher)
        rig.wait(lambda: publisher.get_subscription_count() > 0, what=f'{topic} to be heard')
        publisher.publish(kind(data=data))

    yield once
    for publisher in made:
        destroy_publisher(rig.node, publisher)


@every_publisher
def test_a_single_press_stops_the_policy(rig, running, publish, qos):
    rig.pressed = None
    publish(Bool, 'estop', qos, True)
    rig.wait_state(FAULT)
    publish(Bool, 'estop', qos, False)
    rig.wait(lambda: rig.call(Trigger, 'reset', Trigger.Request()).success, what='the reset')


@every_publisher
def test_a_single_instruction_is_followed_and_only_once(rig, running, publish, qos):
    handle = rig.start_task('pick up the blue block')
    ended = rig.send(handle.get_result_async)
    publish(String, 'instruction', qos, 'pick up the red block')
    rig.wait(ended.done, what='the goal to be preempted')
    rig.wait_state(RUNNING)
    second = rig.start_task('pick up the blue block')
    assert second is not None
    ended = rig.send(second.get_result_async)
    rig.forget()
    rig.wait(lambda: len(rig.statuses) > 10, what='time in which it could be heard again')
    assert not ended.done(), 'an instruction was heard twice'
    rig.instruction.publish(String(data=''))
    rig.wait(ended.done, what='the goal to end')
