# SPDX-License-Identifier: Apache-2.0
"""Messages to core types and back; what cannot be used is refused by name."""

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='messages need ROS')

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from xvla_ros.bags.chunks import as_said
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import pack, unpack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.resources import shared_file
from xvla_ros.inputs.messages import joint_positions, pose_from_message, stamp_to_ns
from xvla_ros.nodes.common.conversions import chunk_to_message, ns_to_stamp, pose_to_message
from xvla_ros.nodes.policy.markers import chunk_markers

pytestmark = pytest.mark.ros


def test_joints_come_in_the_order_asked_for():
    message = JointState(name=['b', 'a', 'c'], position=[2.0, 1.0, 3.0])
    assert joint_positions(message, ('a', 'b'), 't').tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (JointState(name=['a'], position=[1.0]), 'lacks joint b; it names a'),
        (JointState(position=[1.0, 2.0]), r'lacks joint a, b; it names no joint \(it has 2'),
        (JointState(name=['a', 'b', 'a'], position=[1.0, 2.0, 9.0]), 'joint a twice.*a, b, a'),
        (JointState(name=['a', 'b'], position=[1.0]), '2 names but 1 positions'),
        (JointState(name=['a', 'b'], position=[1.0, math.nan]), "joint 'b' is nan"),
        (JointState(name=['a', 'b'], position=[math.inf, 1.0]), "joint 'a' is inf"),
    ],
)
def test_joints_that_cannot_be_used_are_named(message, words):
    with pytest.raises(ObservationError, match=f'states.*{words}'):
        joint_positions(message, ('a', 'b'), 'states')


def stamped(frame='base', **changes):
    message = PoseStamped()
    message.header.frame_id = frame
    message.pose.orientation.w = 1.0
    for name, value in changes.items():
        part, axis = name.split('_')
        setattr(getattr(message.pose, part), axis, value)
    return message


def test_a_driver_that_leaves_the_frame_empty_is_believed():
    position, quaternion = pose_from_message(stamped('', position_x=0.5), 'base', 't')
    assert position.tolist() == [0.5, 0.0, 0.0]
    assert quaternion.tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (stamped('world'), "'world', expected 'base'"),
        (stamped(position_y=math.nan), 'not finite'),
        (stamped(orientation_w=0.2), 'no unit quaternion'),
    ],
)
def test_a_pose_that_cannot_be_used_is_refused(message, words):
    with pytest.raises(ObservationError, match=f'pose.*{words}'):
        pose_from_message(message, 'base', 'pose')


def test_stamps_keep_every_nanosecond():
    for ns in (0, 1, 999_999_999, 1_795_223_289_123_456_789):
        assert stamp_to_ns(ns_to_stamp(ns)) == ns


@pytest.mark.parametrize('first', [0, 1])
def test_a_chunk_message_holds_the_chunks_poses_and_times(first):
    embodiment = load_embodiment(shared_file('config', 'agilex_sim.yaml'))
    rng = np.random.default_rng(0)
    arms = []
    for _ in range(10):
        q = rng.standard_normal((2, 4))
        q /= np.linalg.norm(q, axis=1, keepdims=True)
        arms.append(
            [pose(rng.standard_normal(3), q[0], 0.2), pose(rng.standard_normal(3), q[1], 0.9)]
        )
    layout = embodiment.policy.rotation_6d_layout
    actions = np.array([pack(each, layout) for each in arms])
    stamp_ns = 5_000_000_007
    chunk = Chunk(stamp_ns=stamp_ns, period_s=0.1, actions=actions, sequence=3, first_index=first)
    message = chunk_to_message(embodiment, chunk)
    assert stamp_to_ns(message.header.stamp) == stamp_ns
    assert [t.arm for t in message.steps[0].targets] == list(embodiment.arm_names)
    due = [s.time_from_start.sec * 10**9 + s.time_from_start.nanosec for s in message.steps]
    assert [chunk.stamp_ns + ns for ns in due] == [chunk.due_ns(i) for i in range(10)]
    for step, row in zip(message.steps, chunk.actions, strict=True):
        for target, arm in zip(step.targets, unpack(row, layout, 2), strict=True):
            assert target.pose.position.x == pytest.approx(arm.position[0])
            assert abs(target.pose.orientation.w) == pytest.approx(abs(arm.quaternion[3]))
            assert target.gripper == pytest.approx(arm.gripper, abs=1e-6)
    assert len(chunk_markers(message).markers) == 5  # a line and points per arm, one text
    read = as_said(message, 0, embodiment).chunk
    assert [read.due_ns(i) for i in range(10)] == [chunk.due_ns(i) for i in range(10)]
    np.testing.assert_allclose(read.actions, chunk.actions, atol=1e-6)


def test_a_recorded_chunk_of_one_step_at_its_stamp_has_the_embodiments_period():
    embodiment = load_embodiment(shared_file('config', 'franka_sim.yaml'))
    actions = pack([pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), 0.5)], 'interleaved')
    chunk = Chunk(stamp_ns=7, period_s=0.3, actions=actions[None], first_index=0)
    message = chunk_to_message(embodiment, chunk)
    read = as_said(message, 0, embodiment).chunk
    assert (read.due_ns(0), read.period_s) == (7, embodiment.policy.anchor_period_s)


def pose(position, quaternion, gripper):
    from xvla_ros.core.ee6d import ArmPose

    return ArmPose(position=position, quaternion=quaternion, gripper=gripper)


def test_a_chunk_of_nonsense_is_a_message_without_steps():
    embodiment = load_embodiment(shared_file('config', 'franka_sim.yaml'))
    chunk = Chunk(stamp_ns=0, period_s=0.1, actions=np.full((4, 20), np.nan))
    message = chunk_to_message(embodiment, chunk)
    assert message.steps == []
    assert chunk_markers(message).markers == []


def test_a_pose_message_holds_a_pose():
    message = pose_to_message(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.5, 0.5, 0.5]))
    assert (message.position.y, message.orientation.z) == (2.0, 0.5)
