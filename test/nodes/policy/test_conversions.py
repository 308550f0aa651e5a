# SPDX-License-Identifier: Apache-2.0
"""Messages to core types and back; what cannot be used is refused by name."""

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='messages need ROS')

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image, JointState

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import pack, unpack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.resources import shared_file
from xvla_ros.nodes.conversions import (
    chunk_to_message,
    joint_positions,
    ns_to_stamp,
    pose_from_message,
    pose_to_message,
    stamp_to_ns,
)
from xvla_ros.nodes.images import image_from_message
from xvla_ros.nodes.markers import chunk_markers

pytestmark = pytest.mark.ros
RED_OVER_BLUE = np.array([[[250, 10, 20]], [[10, 20, 240]]], np.uint8)  # (2, 1, 3) RGB


def image(encoding, pixels, step=None):
    height, width = pixels.shape[:2]
    step = step or pixels[0].size
    rows = b''.join(row.tobytes().ljust(step, b'\0') for row in pixels)
    return Image(height=height, width=width, encoding=encoding, step=step, data=rows)


@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [
        ('rgb8', RED_OVER_BLUE),
        ('bgr8', RED_OVER_BLUE[..., ::-1]),
        ('rgba8', np.dstack([RED_OVER_BLUE, [[255], [255]]]).astype(np.uint8)),
        ('bgra8', np.dstack([RED_OVER_BLUE[..., ::-1], [[255], [255]]]).astype(np.uint8)),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
def test_every_encoding_becomes_rgb(encoding, pixels, padding):
    message = image(encoding, pixels, pixels[0].size + padding)
    assert np.array_equal(image_from_message(message, 'topic'), RED_OVER_BLUE)


def test_grey_becomes_three_equal_channels():
    grey = np.array([[7, 200]], np.uint8)
    assert np.array_equal(image_from_message(image('mono8', grey), 't'), np.dstack([grey] * 3))


def test_upside_down_is_turned_not_mirrored():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned = image_from_message(image('rgb8', pixels), 't', rotate_180=True)
    assert np.array_equal(turned, np.rot90(pixels, 2))


def test_a_compressed_image_is_rgb_as_well():
    cv2 = pytest.importorskip('cv2')
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 250
    _, data = cv2.imencode('.png', pixels[..., ::-1])
    message = CompressedImage(format='png', data=data.tobytes())
    assert np.array_equal(image_from_message(message, 't'), pixels)


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (image('bayer_rggb8', RED_OVER_BLUE), 'bayer_rggb8'),
        (Image(height=4, width=4, encoding='rgb8', step=12, data=b'123'), '3 bytes'),
        (Image(height=0, width=4, encoding='rgb8'), '4x0'),
        (CompressedImage(format='jpeg', data=b'no jpeg'), 'jpeg'),
    ],
)
def test_an_image_that_cannot_be_used_names_topic_and_reason(message, words):
    with pytest.raises(ObservationError, match=f'camera/x.*{words}'):
        image_from_message(message, 'camera/x')


def test_joints_come_in_the_order_asked_for():
    message = JointState(name=['b', 'a', 'c'], position=[2.0, 1.0, 3.0])
    assert joint_positions(message, ('a', 'b'), 't').tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (JointState(name=['a'], position=[1.0]), 'lacks joint b; it has a'),
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


def test_a_chunk_message_holds_the_chunks_poses_and_times():
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
    chunk = Chunk(stamp_ns=5_000_000_007, period_s=0.1, actions=actions, sequence=3)
    message = chunk_to_message(embodiment, chunk)
    assert stamp_to_ns(message.header.stamp) == 5_000_000_007
    assert [t.arm for t in message.steps[0].targets] == list(embodiment.arm_names)
    due = [s.time_from_start.sec * 10**9 + s.time_from_start.nanosec for s in message.steps]
    assert [chunk.stamp_ns + ns for ns in due] == [chunk.due_ns(i) for i in range(10)]
    for step, row in zip(message.steps, chunk.actions, strict=True):
        for target, arm in zip(step.targets, unpack(row, layout, 2), strict=True):
            assert target.pose.position.x == pytest.approx(arm.position[0])
            assert abs(target.pose.orientation.w) == pytest.approx(abs(arm.quaternion[3]))
            assert target.gripper == pytest.approx(arm.gripper, abs=1e-6)
    assert len(chunk_markers(message).markers) == 5  # a line and points per arm, one text


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
