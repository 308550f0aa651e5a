# SPDX-License-Identifier: Apache-2.0
"""controller_node over real DDS: a hold comes first, and any publisher's stop is obeyed."""

from controller_rig import PERIOD_S, Rig
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool

from xvla_ros.nodes.controller.condition import FIRST_A_HOLD

pytestmark = pytest.mark.ros
BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
LATCHED = DurabilityPolicy.TRANSIENT_LOCAL
PUBLISHERS = {
    'reliable': QoSProfile(depth=1),
    'latched': QoSProfile(depth=1, durability=LATCHED),
    'best effort': QoSProfile(depth=1, reliability=BEST_EFFORT),
    'best effort, latched': QoSProfile(depth=1, reliability=BEST_EFFORT, durability=LATCHED),
}
every_publisher = pytest.mark.parametrize('qos', PUBLISHERS.values(), ids=PUBLISHERS)


@pytest.fixture
def make_rig(ros_context):
    rigs = []

    def make(robot, **options):
        rigs.append(Rig(robot, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.mark.parametrize('robot', ['franka', 'widowx', 'agilex'])
def test_a_controller_that_starts_into_a_motion_executes_none_of_it(make_rig, robot):
    rig = make_rig(robot, begun=False)
    rig.pass_time(PERIOD_S)
    for _ in range(5):
        rig.pass_time(PERIOD_S)
        rig.send(rig.tools())
        assert rig.status == f'waiting: refused: {FIRST_A_HOLD}'
    assert rig.counts['executed'] == 0
    rig.begin()
    rig.pass_time(PERIOD_S)
    rig.send(rig.tools())
    assert rig.counts['executed'] == 1


@every_publisher
def test_every_publisher_can_stop_the_robot(make_rig, qos):
    rig = make_rig('franka')
    button = rig.node.create_publisher(Bool, 'estop', qos)
    rig.wait(lambda: rig.status.startswith('stopped'), lambda: button.publish(Bool(data=True)))


@every_publisher
def test_every_publisher_can_be_the_deadman(make_rig, qos):
    rig = make_rig('franka', **{'control.deadman_topic': 'deadman'})
    thumb = rig.node.create_publisher(Bool, 'deadman', qos)
    rig.wait(
        lambda: not rig.controller._stop_inputs.released, lambda: thumb.publish(Bool(data=True))
    )
    rig.wait(
        lambda: 'released' in rig.controller._stop_inputs.released.text,
        lambda: thumb.publish(Bool(data=False)),
    )


def test_a_button_that_was_pressed_before_the_controller_started_stops_it(ros_context, make_node):
    button = make_node('button').create_publisher(Bool, 'estop', PUBLISHERS['latched'])
    button.publish(Bool(data=True))
    rig = Rig('franka', begun=False)
    try:
        rig.wait(lambda: rig.status.startswith('stopped'))
    finally:
        rig.close()
