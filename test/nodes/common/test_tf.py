# SPDX-License-Identifier: Apache-2.0
"""Tool poses from real TF: over DDS, at the time of an image, and from a bag."""

import time

from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState

tf2_ros = pytest.importorskip('tf2_ros', reason='tf2 is not installed')

from tf2_msgs.msg import TFMessage  # noqa: E402

from xvla_ros.bags.formats.mcap_file import Raw  # noqa: E402
from xvla_ros.core.embodiment import load_embodiment  # noqa: E402
from xvla_ros.core.errors import ObservationError  # noqa: E402
from xvla_ros.core.observation import check_streams  # noqa: E402
from xvla_ros.core.resources import shared_file  # noqa: E402
from xvla_ros.inputs.arm_state import ArmStates  # noqa: E402
from xvla_ros.nodes.common.conversions import ns_to_stamp  # noqa: E402
from xvla_ros.nodes.common.polled import RosGraph  # noqa: E402
from xvla_ros.nodes.common.tf_pose import recorded_transforms, TfPose  # noqa: E402
from xvla_ros.replay.graph import BagGraph  # noqa: E402

pytestmark = pytest.mark.ros
SECOND_NS = 1_000_000_000
BASE_FRAME, FLANGE, TOOL_FRAME = 'base', 'fr3_link8', 'fr3_hand_tcp'
PATIENCE_S = 10.0


@pytest.fixture
def embodiment():
    overrides = {'arms.arm.pose_source': 'tf'}
    return load_embodiment(shared_file('config', 'franka.yaml'), overrides)


def transform(parent, child, stamp_s, x=0.0, z=0.0, yaw_rad=0.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = ns_to_stamp(round(stamp_s * SECOND_NS))
    message.transform.translation.x, message.transform.translation.z = x, z
    q = message.transform.rotation
    q.x, q.y, q.z, q.w = Rotation.from_euler('z', yaw_rad).as_quat().tolist()
    return message


HAND = transform(FLANGE, TOOL_FRAME, 0.0, z=0.1034)
FIRST = transform(BASE_FRAME, FLANGE, 1.0, x=0.1)
SECOND = transform(BASE_FRAME, FLANGE, 2.0, x=0.3, yaw_rad=np.pi / 2)


class Arm:
    """Broadcasts an arm, and spins the node that reads it."""

    def __init__(self, make_node):
        self.node = make_node('robot')
        self.dynamic = tf2_ros.TransformBroadcaster(self.node)
        self.static = tf2_ros.StaticTransformBroadcaster(self.node)
        self.reader = make_node('reader')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.reader)

    def send(self, transforms, arrived):
        """Broadcast until something has arrived."""
        until = time.monotonic() + PATIENCE_S
        while not self.tried(arrived):
            assert time.monotonic() < until, 'TF did not arrive'
            self.dynamic.sendTransform(transforms)
            self.executor.spin_once(timeout_sec=0.05)

    @staticmethod
    def tried(arrived):
        try:
            return arrived()
        except ObservationError:
            return False


@pytest.fixture
def arm(make_node):
    return Arm(make_node)


def check(found, stamp_s, x, yaw_rad):
    stamp_ns, position, quaternion = found
    assert stamp_ns == round(stamp_s * SECOND_NS)
    assert position == pytest.approx([x, 0.0, 0.1034])
    assert Rotation.from_quat(quaternion).as_euler('xyz')[2] == pytest.approx(yaw_rad)


def test_the_pose_is_that_of_the_asked_time_over_fixed_and_moving_frames(arm, embodiment):
    source = TfPose(arm.reader, embodiment.arms['arm'])
    arm.static.sendTransform(HAND)
    arm.send([FIRST, SECOND], lambda: source.read(None)[0] == 2 * SECOND_NS)
    check(source.read(None), 2.0, 0.3, np.pi / 2)
    check(source.read(round(1.5 * SECOND_NS)), 1.5, 0.2, np.pi / 4)
    check(source.read(SECOND_NS), 1.0, 0.1, 0.0)
    check(source.read(5 * SECOND_NS), 2.0, 0.3, np.pi / 2)  # not yet: the last one
    check(source.read(SECOND_NS // 2), 2.0, 0.3, np.pi / 2)  # forgotten: the last one, and late


def test_frames_that_are_missing_or_not_connected_are_named(arm, embodiment):
    source = TfPose(arm.reader, embodiment.arms['arm'])
    with pytest.raises(ObservationError, match=rf'TF {BASE_FRAME} <- .*{BASE_FRAME}.*exist'):
        source.read(None)
    arm.send(
        [SECOND, transform('elsewhere', TOOL_FRAME, 2.0)],
        lambda: 'elsewhere' in source._buffer.all_frames_as_string(),
    )
    with pytest.raises(ObservationError, match='same tree'):
        source.read(None)


def test_an_arm_whose_tf_has_stopped_is_stale(arm, embodiment):
    states = ArmStates(RosGraph(arm.reader), embodiment)
    fingers = arm.node.create_publisher(JointState, 'franka_gripper/joint_states', 10)
    gripper = JointState(name=['fr3_finger_joint1'], position=[0.02])
    gripper.header.stamp = ns_to_stamp(2 * SECOND_NS)
    arm.static.sendTransform(HAND)

    def arrived():
        fingers.publish(gripper)
        return len(states.read().poses) == 1

    arm.send([FIRST, SECOND], arrived)
    read = states.read()
    stamps, (pose,) = read.stamps_ns, read.poses
    assert stamps == {'arm arm': 2 * SECOND_NS, 'gripper arm': 2 * SECOND_NS}
    assert pose.gripper == pytest.approx(0.5)
    check_streams(stamps, states.limits, round(2.05 * SECOND_NS), 0.1, 0.05)
    with pytest.raises(ObservationError, match='arm'):
        check_streams(stamps, states.limits, 3 * SECOND_NS, 0.1, 0.05)
    before = len(tuple(arm.reader.subscriptions))
    states.close()
    assert len(tuple(arm.reader.subscriptions)) == before - 3  # /tf, /tf_static, the gripper


def test_a_bag_gives_the_same_poses(embodiment):
    graph = BagGraph(['/tf', '/tf_static'], recorded_transforms)
    source = graph.transforms(embodiment.arms['arm'])
    kind = 'tf2_msgs/msg/TFMessage'
    for topic, message in (('/tf_static', HAND), ('/tf', FIRST), ('/tf', SECOND)):
        data = serialize_message(TFMessage(transforms=[message]))
        graph.deliver(Raw(topic=topic, kind=kind, time_ns=0, data=data))
    check(source.read(None), 2.0, 0.3, np.pi / 2)
    check(source.read(round(1.25 * SECOND_NS)), 1.25, 0.15, np.pi / 8)
