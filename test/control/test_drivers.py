# SPDX-License-Identifier: Apache-2.0
"""Driver interfaces with real topics: what each one sends, when, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import rosdep_facts
from scipy.spatial.transform import Rotation

pytest.importorskip('rclpy', reason='drivers publish through ROS')

from driver_rig import arm_of, PERIOD_S, tool
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from xvla_ros.control.drivers import make_arm_driver, make_gripper_driver
from xvla_ros.core.errors import ConfigError

pytestmark = pytest.mark.ros


@pytest.mark.parametrize('frame', ['', 'robot_base_link'])
def test_a_cartesian_pose_carries_the_frame_that_its_controller_insists_on(node, inbox, frame):
    arm, kinematics = arm_of('franka', command_topic='a/target_frame', command_frame=frame)
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    plan = driver.plan(tool(kinematics, home), home, PERIOD_S)
    message = inbox(PoseStamped, 'a/target_frame').next(lambda: driver.send(plan))
    assert message.header.frame_id == (frame or 'base')
    assert message.header.stamp.sec > 0
    assert message.pose.position.x == pytest.approx(plan.target.position[0])


def test_a_second_publisher_on_a_cartesian_topic_is_trouble(node):
    arm, kinematics = arm_of('franka', command_topic='b/target_pose')
    driver = make_arm_driver(node, arm, kinematics)
    assert driver.trouble() == ''
    other = node.create_publisher(PoseStamped, 'b/target_pose', 1)
    assert 'other publisher' in driver.trouble()
    node.destroy_publisher(other)


def test_crisp_takes_joints_by_index_of_one_publisher_and_holds_where_it_is(node, inbox):
    arm, kinematics = arm_of('franka', driver='joint_target', command_topic='t/target_joint')
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    assert driver.pulls_to_target
    message = inbox(JointState, 't/target_joint').next(
        lambda: driver.hold(tool(kinematics, home), home)
    )
    assert message.position.tolist() == home.tolist()
    assert tuple(message.name) == arm.joint_names
    other = node.create_publisher(JointState, 't/target_joint', 1)
    assert 'other publisher' in driver.trouble()
    node.destroy_publisher(other)


def test_holding_a_cartesian_arm_makes_the_measured_pose_the_target(node, inbox):
    arm, kinematics = arm_of('franka', command_topic='c/target_pose')
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    measured = tool(kinematics, home)
    message = inbox(PoseStamped, 'c/target_pose').next(lambda: driver.hold(measured, home))
    assert message.pose.position.z == pytest.approx(measured.position[2])


JOINT_ARMS = [
    ('widowx', 'joint_trajectory', JointTrajectory, lambda m: m.points[0].positions),
    ('widowx', 'joint_position', Float64MultiArray, lambda m: m.data),
    ('widowx', 'joint_target', JointState, lambda m: m.position),
    ('agilex', 'piper', JointState, lambda m: m.position[:6]),
]


@pytest.mark.parametrize(
    ('file', 'kind', 'message', 'joints_of'), JOINT_ARMS, ids=[kind for _, kind, *_ in JOINT_ARMS]
)
def test_a_joint_arm_is_sent_the_joints_of_its_target(node, inbox, file, kind, message, joints_of):
    topic = f'd/{kind}'
    arm, kinematics = arm_of(file, driver=kind, command_topic=topic)
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    target = tool(kinematics, home, by=(0.004, 0.0, 0.002))
    plan = driver.plan(target, home, PERIOD_S)
    assert plan.reachable
    sent = np.array(joints_of(inbox(message, topic).next(lambda: driver.send(plan))))
    position, _ = kinematics.forward(sent)
    assert np.linalg.norm(position - target.position) < 1e-3
    assert (np.abs(sent - home) <= kinematics.velocity_limit * PERIOD_S + 1e-9).all()


def test_joints_never_exceed_their_speed_however_far_the_target(node):
    arm, kinematics = arm_of('widowx', command_topic='e/trajectory')
    driver, q = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    target = tool(kinematics, q, by=(0.12, 0.1, 0.0))
    for _ in range(100):
        plan = driver.plan(target, q, PERIOD_S)
        assert (np.abs(plan.joints - q) <= kinematics.velocity_limit * PERIOD_S + 1e-9).all()
        driver.send(plan)
        q = plan.joints
    assert np.linalg.norm(kinematics.forward(q)[0] - target.position) < 2e-3


def test_an_unreachable_target_is_clamped_with_a_reason_and_never_flips(node):
    arm, kinematics = arm_of('widowx', command_topic='f/trajectory')
    driver, q = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    target = tool(kinematics, q, by=(0.8, 0.0, 0.0))
    for _ in range(300):
        plan = driver.plan(target, q, PERIOD_S)
        assert np.abs(plan.joints - q).max() < 0.2
        driver.send(plan)
        q = plan.joints
    assert not plan.reachable
    assert 'clamped to the nearest reachable pose' in plan.reasons[0]
    assert driver.objection(target, q).startswith('target out of reach')
    reached, _ = kinematics.forward(q)
    start, _ = kinematics.forward(np.array(arm.home_rad))
    assert reached[0] > start[0] + 0.1  # it went there as far as it goes


def test_planning_alone_commands_nothing(node, inbox):
    arm, kinematics = arm_of('widowx', command_topic='g/trajectory')
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    box = inbox(JointTrajectory, 'g/trajectory')
    driver.plan(tool(kinematics, home, by=(0.01, 0.0, 0.0)), home, PERIOD_S)
    assert box.silent()


def test_motion_begins_where_the_arm_is_when_it_was_moved_by_hand(node):
    arm, kinematics = arm_of('widowx', command_topic='h/trajectory')
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    driver.send(driver.plan(tool(kinematics, home), home, PERIOD_S))
    moved = np.add(home, [0.2, 0, 0, 0, 0, 0])
    driver.forget()
    plan = driver.plan(tool(kinematics, moved), moved, PERIOD_S)
    assert np.abs(plan.joints - moved).max() < 1e-3


def test_a_command_never_goes_back_for_an_arm_that_lags(node):
    """A wrist that turns at its limit, 0.25 s behind its commands as a first-order lag."""
    arm, kinematics = arm_of('ur5e_sim', command_topic='m/trajectory')
    driver, q = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    start, sent = tool(kinematics, q), []
    for tick in range(60):
        turn = Rotation.from_rotvec([0.0, 0.0, min(1.5 * PERIOD_S * tick, 1.3)])
        quaternion = (turn * Rotation.from_quat(start.quaternion)).as_quat()
        plan = driver.plan(replace(start, quaternion=quaternion), q, PERIOD_S)
        driver.send(plan)
        sent.append(plan.joints)
        q = q + (plan.joints - q) * PERIOD_S / 0.25
    steps = np.diff(np.array(sent)[:, 5])
    assert (np.abs(sent[-1] - q) < 0.25).all()
    assert (steps * np.sign(steps.sum()) > -1e-3).all()


@pytest.mark.parametrize(('command', 'sent'), [(0.2, 0.08), (0.05, 0.05)])
def test_the_pipers_gripper_is_clamped_to_its_travel(node, inbox, command, sent):
    topic = f'i/piper{round(100 * command)}'
    arm, kinematics = arm_of('agilex', command_topic=topic, **{'gripper.command_open': command})
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    plan = driver.plan(tool(kinematics, home, gripper=1.0), home, PERIOD_S)
    message = inbox(JointState, topic).next(lambda: driver.send(plan))
    assert list(message.name) == [f'joint{i}' for i in range(1, 7)] + ['gripper']
    assert message.position[6] == pytest.approx(sent)


def test_a_pipers_command_always_holds_its_gripper(node, inbox):
    """The driver reads position[6] unasked: without it, it ends (piper_ctrl_single_node.py)."""
    arm, kinematics = arm_of('agilex', command_topic='i/piper_home')
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    driver.observe(tool(kinematics, home, gripper=0.5))
    plan = driver.plan(tool(kinematics, home, gripper=np.nan), home, PERIOD_S)
    message = inbox(JointState, 'i/piper_home').next(lambda: driver.send(plan))
    assert message.position[6] == pytest.approx(0.5 * arm.gripper.command_open)


def test_a_piper_whose_state_topic_is_a_command_topic_is_refused(node):
    """start_single_piper.launch.py remaps joint_ctrl_single to joint_states."""
    arm, kinematics = arm_of('agilex', command_topic='joint_left')
    with pytest.raises(ConfigError, match='joint_ctrl_single'):
        make_arm_driver(node, arm, kinematics)


def test_an_arm_commanded_by_joints_needs_kinematics(node):
    arm, _ = arm_of('widowx', command_topic='j/trajectory')
    with pytest.raises(ConfigError, match='urdf'):
        make_arm_driver(node, arm, None)


def test_a_trajectory_gripper_is_sent_only_when_it_changes(node, inbox):
    arm, _ = arm_of('widowx', **{'gripper.command_topic': 'k/gripper'})
    driver = make_gripper_driver(node, arm.gripper)
    box = inbox(JointTrajectory, 'k/gripper')
    openings = iter(range(10_000))
    message = box.next(lambda: driver.send(float(next(openings) % 2)))
    assert list(message.joint_names) == ['left_finger']
    assert message.points[0].positions[0] in (0.015, 0.037)
    last = float(message.points[0].positions[0] == 0.037)
    box.next(lambda: driver.send(float(next(openings) % 2)))
    while not box.silent():
        pass
    last = float(box.messages[-1].points[0].positions[0] == 0.037)
    driver.send(last)
    driver.send(float('nan'))
    assert box.silent()


def test_an_array_gripper_gets_one_value_per_finger(node, inbox):
    arm, _ = arm_of('franka_sim', **{'gripper.command_topic': 'l/commands'})
    driver = make_gripper_driver(node, arm.gripper)
    message = inbox(Float64MultiArray, 'l/commands').next(lambda: driver.send(0.5))
    assert list(message.data) == pytest.approx([0.02, 0.02])


NEEDS = [
    ('widowx', {'driver': 'interbotix'}, 'interbotix_xs_msgs'),
    ('franka', {'command_topic': 'servo_node/pose_target_cmds'}, 'moveit_msgs'),
]


def how_to_get(package):
    """Return what an error says: apt where Jazzy has released a package, else its source."""
    if package in rosdep_facts.SOURCE_ONLY:
        return f'from source: build {package} '
    return f'apt install ros-jazzy-{package.replace("_", "-")}'


@pytest.mark.parametrize(('file', 'settings', 'package'), NEEDS, ids=lambda v: str(v))
def test_an_arm_driver_without_its_messages_says_what_to_install(node, file, settings, package):
    try:
        __import__(package)
    except ImportError:
        arm, kinematics = arm_of(file, **settings)
        with pytest.raises(ConfigError, match=f'(?s){package}.*{how_to_get(package)}'):
            make_arm_driver(node, arm, kinematics)
    else:
        pytest.skip(f'{package} is installed here')


GRIPPERS = [
    ('gripper_command', 'control_msgs'),
    ('parallel_gripper_command', 'control_msgs'),
    ('franka_gripper', 'franka_msgs'),
    ('interbotix', 'interbotix_xs_msgs'),
]


@pytest.mark.parametrize(('kind', 'package'), GRIPPERS)
def test_a_gripper_without_its_messages_says_what_to_install(node, kind, package):
    try:
        __import__(package)
    except ImportError:
        arm, _ = arm_of('franka', gripper_driver=kind)
        with pytest.raises(ConfigError, match=f'(?s){package}.*{how_to_get(package)}'):
            make_gripper_driver(node, arm.gripper)
    else:
        pytest.skip(f'{package} is installed here')
