# SPDX-License-Identifier: Apache-2.0
"""A robot description from a topic, as robot_state_publisher latches it, over real DDS."""

from array import array
from dataclasses import replace
import pickle
import threading

from bags import string
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.topics import recorded_streams
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.embodiment import embodiment_from_parameters
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.parameter_file import read_parameter_file
from xvla_ros.core.resources import shared_file
from xvla_ros.inputs.arm_state import ArmStates
from xvla_ros.nodes.common import robot_description
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.nodes.common.polled import RosGraph
from xvla_ros.nodes.common.robot_description import with_descriptions
from xvla_ros.nodes.controller.__main__ import ControllerNode
from xvla_ros.replay.graph import with_recorded_descriptions
from xvla_ros.runtime.home import home_poses

pytestmark = pytest.mark.ros
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# What a cell's description has and a file of ours has not: a world that the arm stands in.
WORLD = """<link name="world"/>
<joint name="stand" type="fixed"><parent link="world"/><child link="wx250s/base_link"/>
<origin xyz="0.4 -0.2 0.9" rpy="0 0.3 1.57"/></joint></robot>"""


def parameters_of(topic):
    """Return the WidowX's parameters with the URDF on a topic."""
    parameters = read_parameter_file(shared_file('config', 'widowx.yaml'))
    parameters['arms']['arm']['urdf'] = f'topic:{topic}'
    return parameters


def embodiment_of(topic):
    return embodiment_from_parameters(parameters_of(topic), 'test.yaml')


@pytest.fixture(scope='module')
def by_file():
    parameters = read_parameter_file(shared_file('config', 'widowx.yaml'))
    return embodiment_from_parameters(parameters, 'widowx.yaml')


@pytest.fixture(scope='module')
def description(by_file):
    text = shared_file('resource', by_file.arms['arm'].urdf).read_text()
    return text.replace('</robot>', WORLD)


@pytest.fixture
def publish(make_node, description):
    """Return a function that latches a description on a topic."""
    node, kept = make_node('robot_state_publisher'), []

    def latch(topic, text=description):
        kept.append(node.create_publisher(String, topic, LATCHED))
        kept[-1].publish(String(data=text))

    return latch


def test_the_pose_is_that_of_the_file_though_the_arm_stands_elsewhere(make_node, publish, by_file):
    publish('a/robot_description')
    node = make_node('reader')
    embodiment = with_descriptions(node, embodiment_of('a/robot_description'))
    arm, other = arm_kinematics(embodiment.arms['arm']), arm_kinematics(by_file.arms['arm'])
    for q in np.random.default_rng(0).uniform(other.lower, other.upper, (20, 6)):
        for got, expected in zip(arm.forward(q), other.forward(q), strict=True):
            assert got == pytest.approx(expected, abs=1e-12)
        assert arm.jacobian(q) == pytest.approx(other.jacobian(q), abs=1e-12)
    assert home_poses(embodiment)[0].position == pytest.approx(home_poses(by_file)[0].position)
    # The inference worker gets it over its link.
    assert pickle.loads(pickle.dumps(embodiment)) == embodiment


def test_joint_states_become_poses_through_it(make_node, publish, by_file):
    publish('b/robot_description')
    robot, node = make_node('robot'), make_node('reader')
    embodiment = with_descriptions(node, embodiment_of('b/robot_description'))
    arm = embodiment.arms['arm']
    states = ArmStates(RosGraph(node), embodiment)
    publisher = robot.create_publisher(JointState, arm.joint_states_topic, 10)
    names = [*arm.joint_names, *arm.gripper.joint_names]
    message = JointState(name=names, position=array('d', [*arm.home_rad, 0.02]))
    message.header.stamp = ns_to_stamp(5)
    arrived = threading.Event()
    for _ in range(200):
        publisher.publish(message)
        read = states.read()
        if read.poses or arrived.wait(0.05):
            break
    assert read.stamps_ns['arm arm'] == 5
    assert read.poses[0].position == pytest.approx(home_poses(by_file)[0].position, abs=1e-9)


def test_a_controller_waits_for_a_description_that_comes_late(make_node, publish, tmp_path):
    file = tmp_path / 'late.yaml'
    text = shared_file('config', 'widowx.yaml').read_text()
    file.write_text(text.replace('urdf: robots/widowx.urdf', 'urdf: topic:late/description'))
    late = threading.Timer(1.0, publish, ('late/description',))
    late.start()
    controller = ControllerNode(cli_args=['--ros-args', '--params-file', str(file)])
    late.join()
    assert '<robot' in controller.embodiment.arms['arm'].urdf
    given = controller.get_parameter('arms.arm.urdf').value
    assert given == 'topic:late/description'  # the parameter stays what the user wrote
    controller.destroy_node()


def test_silence_and_nonsense_are_refused_with_what_was_expected(make_node, publish, monkeypatch):
    monkeypatch.setattr(robot_description, 'PATIENCE_S', 0.3)
    node = make_node('reader', namespace='cell')
    with pytest.raises(ConfigError, match=r"'/cell/nobody'.*robot_state_publisher"):
        with_descriptions(node, embodiment_of('nobody'))
    monkeypatch.setattr(robot_description, 'PATIENCE_S', 10.0)
    publish('/cell/nonsense', 'a robot')
    with pytest.raises(ConfigError, match="'nonsense': expected a URDF, got 'a robot'"):
        with_descriptions(node, embodiment_of('nonsense'))


def test_a_description_without_the_base_frame_is_refused(by_file, description):
    arm = by_file.arms['arm']
    with pytest.raises(ConfigError, match=r"no link 'base' for the base; it has: .*world"):
        arm_kinematics(replace(arm, urdf=description, base_frame='base'))
    with pytest.raises(ConfigError, match="'wx250s/wrist_link' moves with 'wrist_angle'"):
        arm_kinematics(replace(arm, urdf=description, base_frame='wx250s/wrist_link'))
    with pytest.raises(ConfigError, match='needs ROS'):
        arm_kinematics(replace(arm, urdf='topic:robot_description'))


def test_a_recording_holds_the_description_and_a_replay_takes_it(tmp_path, description):
    embodiment = embodiment_of('robot_description')
    (stream,) = (s for s in recorded_streams(embodiment) if s.topic == 'robot_description')
    assert stream.latched
    channels = {'/robot_description': Channel(kind=stream.kind, latched=True)}
    with BagWriter(tmp_path / 'bag', channels, Bounds()) as writer:
        writer.write('/robot_description', 1_000_000_000, string(description))
    replayed = with_recorded_descriptions(open_bag(tmp_path / 'bag'), embodiment)
    assert replayed.arms['arm'].urdf == description
    with pytest.raises(ConfigError, match="no robot description on 'other'"):
        with_recorded_descriptions(open_bag(tmp_path / 'bag'), embodiment_of('other'))


@pytest.mark.parametrize(
    ('file', 'urdf', 'culprit'),
    [('widowx', 'topic:', 'names no topic'), ('widowx_sim', 'topic:robot_description', 'a file')],
)
def test_what_no_topic_can_give_is_refused(file, urdf, culprit):
    parameters = read_parameter_file(shared_file('config', f'{file}.yaml'))
    parameters['arms']['arm']['urdf'] = urdf
    with pytest.raises(ConfigError, match=culprit):
        embodiment_from_parameters(parameters, 'test.yaml')
