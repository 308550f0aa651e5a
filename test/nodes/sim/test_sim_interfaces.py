# SPDX-License-Identifier: Apache-2.0
"""The simulated drivers obey and drop the same commands as the real ones."""

from builtin_interfaces.msg import Duration
from cell import Client, processes, ROOT
from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.nodes.sim.drivers import ARM_SERVERS, make_servers
from xvla_ros.nodes.sim.server import opening_of
from xvla_ros.nodes.sim.trajectories import TrajectoryFollower

pytestmark = pytest.mark.ros


def trajectory(*points, names=('a', 'b')):
    """Return a trajectory of (seconds, positions) points."""
    return JointTrajectory(
        joint_names=list(names),
        points=[
            JointTrajectoryPoint(
                positions=[float(v) for v in positions],
                time_from_start=Duration(sec=int(s), nanosec=round((s - int(s)) * 1e9)),
            )
            for s, positions in points
        ],
    )


def test_a_trajectory_is_followed_linearly_from_where_the_reference_is():
    follower = TrajectoryFollower(['a', 'b'])
    follower.begin(trajectory((0.1, [1, 2]), (0.2, [1, 4])), np.array([0.0, 0.0]))
    steps = [follower.advance(0.05) for _ in range(5)]
    assert np.allclose(steps[:4], [[0.5, 1], [1, 2], [1, 3], [1, 4]])
    assert steps[4] is None


def test_joints_may_come_in_any_order():
    follower = TrajectoryFollower(['a', 'b'])
    follower.begin(trajectory((0.1, [2, 1]), names=('b', 'a')), np.zeros(2))
    assert np.allclose(follower.advance(0.1), [1, 2])


@pytest.mark.parametrize(
    ('message', 'why'),
    [
        (trajectory(), 'empty'),
        (trajectory((0.1, [1])), 'lacks positions'),
        (trajectory((0.1, [1, float('nan')])), 'not finite'),
        (trajectory((0.2, [1, 2]), (0.1, [1, 2])), 'do not increase'),
        (trajectory((0.1, [1, 2]), names=('a', 'c')), "['a', 'c']"),
        (trajectory((0.1, [1]), names=('a',)), "['a']"),
    ],
)
def test_trajectories_that_the_real_controller_rejects_are_rejected(message, why):
    assert why in TrajectoryFollower(['a', 'b']).objection(message)


def test_every_arm_driver_has_a_counterpart():
    from xvla_ros.control.drivers import ARM_DRIVERS

    assert set(ARM_SERVERS) == set(ARM_DRIVERS)


def test_a_gripper_that_is_not_simulated_is_refused_by_name(make_node):
    config = shared_file('config', 'franka_sim.yaml')
    override = {'arms.arm.gripper.driver': 'gripper_command'}
    arm = load_embodiment(config, override).arms['arm']
    with pytest.raises(ConfigError, match=r"gripper.driver 'gripper_command' is not simulated"):
        make_servers(make_node('not_simulated'), 'arm', arm)


def test_openings_are_read_from_commands_in_either_direction():
    config = shared_file('config', 'franka_sim.yaml')
    gripper = load_embodiment(config).arms['arm'].gripper
    assert [opening_of(gripper, v) for v in (0.0, 0.02, 0.04, 1.0)] == [0.0, 0.5, 1.0, 1.0]


def test_the_pipers_end_pose_is_the_flange_without_a_frame(ros_context):
    config = ROOT / 'config' / 'agilex_sim.yaml'
    seen = []
    with processes(config, ('sim_node',)):
        client = Client(config, 'flange')
        client.node.create_subscription(
            PoseStamped, 'end_pose_stamped_left', seen.append, qos_profile_sensor_data
        )
        client.wait(lambda: seen and client.tools() is not None, 'poses')
        client.close()
    arm = load_embodiment(config).arms['left']
    flange = Kinematics(shared_file('resource', arm.urdf), 'link6', arm.joint_names)
    p = seen[-1].pose.position
    assert seen[-1].header.frame_id == ''
    assert np.allclose([p.x, p.y, p.z], flange.forward(arm.home_rad)[0], atol=2e-3)
