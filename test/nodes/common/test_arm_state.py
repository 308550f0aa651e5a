# SPDX-License-Identifier: Apache-2.0
"""The state of an arm from real topics: names, units and stamps as drivers really send them."""

import itertools
import threading
import time

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation import check_streams
from xvla_ros.core.resources import shared_file
from xvla_ros.inputs.arm_state import ArmStates
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.nodes.common.polled import RosGraph

pytestmark = pytest.mark.ros
PATIENCE_S = 10.0


@pytest.fixture
def arm(make_node):
    """Return a function that makes the states of a WidowX, and a sender of its JointStates."""

    def make(**settings):
        overrides = {f'arms.arm.{key}': value for key, value in settings.items()}
        embodiment = load_embodiment(shared_file('config', 'widowx_sim.yaml'), overrides)
        node = make_node('states')
        states = ArmStates(RosGraph(node), embodiment)
        return _Arm(node, embodiment, states)

    return make


class _Arm:
    def __init__(self, node, embodiment, states):
        self.node, self.embodiment, self.states = node, embodiment, states
        self.settings = embodiment.arms['arm']
        self._sender = node.create_publisher(JointState, self.settings.joint_states_topic, 10)

    def send(self, joints=None, names=None, finger=None, stamp_ns=None):
        """Send the home pose, or joints, stamped now, or with a stamp."""
        gripper = self.settings.gripper
        stamp_ns = self.node.get_clock().now().nanoseconds if stamp_ns is None else stamp_ns
        joints = self.settings.home_rad if joints is None else joints
        finger = gripper.open_position if finger is None else finger
        names = [*self.settings.joint_names, *gripper.joint_names[:1]] if names is None else names
        message = JointState(name=names, position=[*map(float, joints), float(finger)])
        message.header.stamp = ns_to_stamp(stamp_ns)
        self._sender.publish(message)

    def refused(self, **message):
        """Send until the state is refused; return the words."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self.send(**message)
            try:
                self.states.read()
            except ObservationError as error:
                return str(error)
            time.sleep(0.02)
        raise AssertionError('nothing was refused')

    def read(self, **message):
        """Send until all streams are there; return their stamps."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self.send(**message)
            read = self.states.read()
            if len(read.stamps_ns) == 2 and read.poses:
                return read.stamps_ns
            time.sleep(0.02)
        raise AssertionError('nothing was received')


def test_joints_of_another_robot_are_quoted(arm):
    names = [f'fr3_joint{i}' for i in range(7)]
    words = arm().refused(names=names)
    assert 'no JointState names waist or shoulder' in words
    assert 'the last one names fr3_joint0, fr3_joint1' in words


def test_joints_without_names_are_told(arm):
    assert 'the last one names no joint (it has 7 positions)' in arm().refused(names=[])


def test_names_shifted_by_one_are_quoted(arm):
    widowx = arm()
    names = widowx.settings.joint_names
    words = widowx.refused(names=['base', *names[:-1], 'left_finger'])
    assert f'lacks joint {names[-1]}; it names base, {names[0]}' in words


def test_a_joint_that_is_named_twice_is_refused(arm):
    widowx = arm()
    names = [*widowx.settings.joint_names, widowx.settings.joint_names[2]]
    assert 'names joint elbow twice' in widowx.refused(names=names)


UNITS = [
    (np.degrees, 'degrees'),
    (lambda q: 2048 + q * 4096 / (2 * np.pi), 'servo ticks'),
    (lambda q: 100 * q / np.pi, '-100 to 100'),
]


@pytest.mark.parametrize(('unit', 'words'), UNITS, ids=[words for _, words in UNITS])
def test_joints_in_another_unit_are_refused_with_the_unit_that_fits(arm, unit, words):
    widowx = arm()
    told = widowx.refused(joints=unit(np.array(widowx.settings.home_rad)))
    assert widowx.settings.joint_states_topic in told
    assert words in told
    assert 'its URDF allows' in told


@pytest.mark.parametrize('finger', [50.0, -100.0, 1700.0])
def test_a_finger_in_another_unit_is_refused(arm, finger):
    words = arm().refused(finger=finger)
    assert f"finger joint 'left_finger' is at {finger:.4g}, expected about" in words


def test_a_finger_a_little_beyond_its_travel_is_no_trouble(arm):
    widowx = arm()
    widowx.read(finger=1.2 * widowx.settings.gripper.open_position)


def test_a_stream_without_stamps_says_so(arm):
    widowx = arm()
    stamps = widowx.read(stamp_ns=0)
    now_ns = widowx.node.get_clock().now().nanoseconds
    with pytest.raises(ObservationError, match=r'no stamp .*stamp_source: receive'):
        check_streams(stamps, widowx.states.limits, now_ns, np.inf)


@pytest.mark.parametrize('stamp_ns', [0, 5_000_000_000, 4_000_000_000_000_000_000])
def test_a_stream_may_be_timed_by_its_arrival(arm, stamp_ns):
    """Whatever its driver stamps: nothing, another clock's time, or the future."""
    widowx = arm(stamp_source='receive')
    before_ns = widowx.node.get_clock().now().nanoseconds
    stamps = widowx.read(stamp_ns=stamp_ns)
    now_ns = widowx.node.get_clock().now().nanoseconds
    assert all(before_ns <= each <= now_ns for each in stamps.values())
    check_streams(stamps, widowx.states.limits, now_ns, np.inf)
    limit_s = widowx.settings.max_age_s
    late_ns = now_ns + round((limit_s + 0.1) * 1e9)
    with pytest.raises(ObservationError, match='old'):
        check_streams(stamps, widowx.states.limits, late_ns, np.inf)


def test_a_message_that_waits_to_be_taken_grows_old(arm):
    """Its time is that of its arrival in the middleware, not that of its use."""
    widowx = arm(stamp_source='receive')
    widowx.read()
    until = time.monotonic() + PATIENCE_S
    waited_s = 0.0
    while waited_s < 0.1:
        assert time.monotonic() < until, 'every message was timed when it was used'
        widowx.send()
        time.sleep(0.2)
        now_ns = widowx.node.get_clock().now().nanoseconds
        waited_s = (now_ns - widowx.states.read().stamps_ns['arm arm']) * 1e-9


@pytest.mark.parametrize('postures', [False, True])
def test_poses_have_the_joints_they_are_computed_from_where_wanted(make_node, postures):
    embodiment = load_embodiment(shared_file('config', 'widowx_sim.yaml'))
    node = make_node('states')
    arm = _Arm(node, embodiment, ArmStates(RosGraph(node), embodiment, postures=postures))
    joints, until = np.array(arm.settings.home_rad) + 0.1, time.monotonic() + PATIENCE_S
    while not (poses := arm.states.read().poses):
        assert time.monotonic() < until, 'no pose came'
        arm.send(joints=joints)
        time.sleep(0.02)
    if postures:
        np.testing.assert_array_equal(poses[0].joints, joints)
    else:
        assert poses[0].joints is None


def test_pose_and_joints_of_one_topic_are_always_of_one_message(make_node):
    """They once came from two subscriptions: a controller could see two samples as one."""
    embodiment = load_embodiment(shared_file('config', 'widowx_sim.yaml'))
    node = make_node('states')
    states = ArmStates(RosGraph(node), embodiment, joints=True)
    arm = _Arm(node, embodiment, states)
    topics = [subscription.topic_name for subscription in node.subscriptions]
    assert topics.count(f'/{arm.settings.joint_states_topic.lstrip("/")}') == 1
    kinematics, ended = arm_kinematics(arm.settings), threading.Event()

    def move():
        for step in itertools.count():
            if ended.wait(0.0005):
                return
            arm.send(joints=np.array(arm.settings.home_rad) + 1e-4 * (step % 1000))

    mover = threading.Thread(target=move, daemon=True)
    mover.start()
    seen, until = set(), time.monotonic() + PATIENCE_S
    while len(seen) < 100:
        assert time.monotonic() < until, f'{len(seen)} samples only'
        read = states.read()
        if not (read.poses and read.joints):
            continue
        assert len(set(read.stamps_ns.values())) == 1
        position, _ = kinematics.forward(read.joints[0])
        np.testing.assert_allclose(read.poses[0].position, position, atol=1e-12)
        seen.add(float(read.joints[0][0]))
    ended.set()
    mover.join()
