# SPDX-License-Identifier: Apache-2.0
"""controller_node with two arms over real DDS: both move, or neither does."""

from cell import apart_m, Client, moved, processes, ROOT
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.resources import shared_file

pytestmark = pytest.mark.ros


@pytest.fixture(scope='module')
def client(ros_context):
    config = ROOT / 'config' / 'agilex_sim.yaml'
    with processes(config):
        client = Client(config)
        client.wait_until_ready()
        yield client
        client.close()


@pytest.fixture(autouse=True)
def at_home(client):
    client.wait_for_state('holding')
    client.begin_anew()
    client.spin(0.8)


def _out_of_reach(client):
    """Return a pose in the left arm's workspace that inverse kinematics cannot reach."""
    arm = client.embodiment.arms['left']
    kinematics = Kinematics(shared_file('resource', arm.urdf), arm.tool_frame, arm.joint_names)
    here, rng = client.tools()[0], np.random.default_rng(0)
    for _ in range(1000):
        turn = Rotation.from_rotvec(0.55 * rng.standard_normal(3) / 3**0.5)
        if turn.magnitude() > 0.58:
            continue
        quaternion = (turn * Rotation.from_quat(here.quaternion)).as_quat()
        found = kinematics.inverse(here.position, quaternion, arm.home_rad)
        if not found.converged and found.rotation_error_rad > 0.1:
            return ArmPose(position=here.position, quaternion=quaternion, gripper=1.0)
    raise AssertionError('every pose near home can be reached')


def test_both_arms_reach_their_targets(client):
    goal = moved(client.tools(), by=(0.05, 0.0, 0.0), gripper=0.0)
    client.wait(
        lambda: apart_m(client.tools(), goal) < 0.003,
        'targets',
        10.0,
        meanwhile=lambda: client.send(goal),
    )


def test_when_one_arm_cannot_reach_neither_moves(client):
    start = client.tools()
    good = moved(start[1:], by=(0.05, 0.0, 0.0), gripper=1.0)[0]
    bad = (_out_of_reach(client), good)
    client.wait(
        lambda: 'neither arm moves, because one cannot: left' in client.status,
        'refusal',
        20.0,
        meanwhile=lambda: client.send(bad),
    )
    client.hold_target(bad, 0.5)
    assert apart_m(client.tools(), start) < 0.002


def test_when_one_target_is_malformed_neither_moves(client):
    start = client.tools()

    def send_malformed():  # one that arrives 0.1 s late is refused for its age instead
        message = client.command(moved(start, by=(0.05, 0.0, 0.0), gripper=1.0))
        message.targets[1].pose.position.x = float('inf')
        client.publish(message)

    client.wait(lambda: "arm 'right'" in client.status, 'refusal', meanwhile=send_malformed)
    assert apart_m(client.tools(), start) < 0.001


def test_the_gripper_is_the_seventh_joint_and_stays_in_its_travel(client):
    commands = []
    subscription = client.node.create_subscription(
        JointState, 'joint_ctrl_cmd_left', commands.append, 10
    )
    for gripper, expected in ((0.0, 0.0), (1.0, 0.07)):
        goal = moved(client.tools(), gripper=gripper)
        client.wait(
            lambda g=gripper: abs(client.tools()[0].gripper - g) < 0.05,
            'gripper',
            10.0,
            meanwhile=lambda goal=goal: client.send(goal),
        )
        client.wait(  # the state may arrive before the command that caused it
            lambda e=expected: commands and commands[-1].position[6] == pytest.approx(e),
            f'command of {expected} m',
            10.0,
            meanwhile=lambda goal=goal: client.send(goal),
        )
        assert list(commands[-1].name) == [f'joint{i}' for i in range(1, 7)] + ['gripper']
    assert all(0.0 <= c.position[6] <= 0.08 for c in commands if len(c.position) == 7)
    client.node.destroy_subscription(subscription)
