# SPDX-License-Identifier: Apache-2.0
"""controller_node with joint targets, and collisions of arms that inverse kinematics moves."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='the controller needs ROS')

from controller_rig import PERIOD_S, Rig  # noqa: E402
from joint_robots import JointRobot, joints  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture(scope='module')
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@contextmanager
def rig_of(robot, **parameters):
    rig = Rig(robot, **parameters)
    try:
        rig.pass_time(PERIOD_S)
        yield rig
    finally:
        rig.close()


def refusal(rig):
    return rig.controller._condition.refusal.text


def test_joint_targets_are_executed_as_they_are(ros):
    robot = JointRobot('so101')
    with rig_of('so101') as rig:
        for tick in range(1, 11):
            rig.pass_time(PERIOD_S)
            q = robot.home + 0.02 * np.sin(0.1 * tick) ** 2
            rig.send(robot.arms(q))
            np.testing.assert_array_equal(rig.controller._robot._drivers['arm']._commanded, q)
            rig.follow()
        assert rig.counts['executed'] == 10
        assert not rig.counts['clamped']


def test_a_target_without_joints_is_refused(ros):
    with rig_of('so101') as rig:
        rig.send(rig.tools())
        assert "target of arm 'arm' has 0 joints, expected 5" in refusal(rig)
        assert not rig.counts['executed']


def test_a_pose_that_does_not_fit_the_joints_is_not_believed(ros):
    robot = JointRobot('so101')
    with rig_of('so101') as rig:
        rig.pass_time(PERIOD_S)
        (arm,) = robot.arms(robot.home)
        rig.send([replace(arm, position=arm.position + 0.3)])
        sent = rig.controller._robot.sent['arm']
        np.testing.assert_allclose(sent.position, arm.position, atol=1e-9)


def test_a_jump_moves_nothing_and_names_the_joint(ros):
    robot = JointRobot('so101')
    with rig_of('so101') as rig:
        rig.pass_time(PERIOD_S)
        q = robot.home.copy()
        q[1] -= 0.6
        rig.send(robot.arms(q))
        assert "joint 'shoulder_lift' would jump from" in refusal(rig)
        assert not rig.counts['executed']


def test_a_course_into_the_base_is_refused_by_the_links(ros):
    box = {'arms.arm.workspace_min_m': '[-0.5,-0.5,-0.5]'}
    with rig_of('so101', **box) as rig:
        robot, q = JointRobot('so101'), JointRobot('so101').home.copy()
        while 'touch' not in refusal(rig):
            rig.pass_time(PERIOD_S)
            q[2] += 0.02
            assert q[2] < 1.6
            rig.send(robot.arms(q))
            if rig.controller._robot.sent:
                rig.follow()
        assert not robot.model.collision(rig.joints['arm'])
        assert not robot.model.collision(joints(robot.arms(rig.joints['arm'])))


def test_arms_of_tool_poses_do_not_touch_a_scene_box(ros):
    wall = {
        'limits.check_collisions': 'true',
        'scene.wall.min_m': '[0.34,-0.6,0.0]',
        'scene.wall.max_m': '[0.40,0.6,1.0]',
    }
    with rig_of('agilex', **wall) as rig:
        for _ in range(60):
            rig.move((0.004, 0.0, 0.0), 1)
            if 'collision' in refusal(rig):
                break
        assert "touches 'wall'" in refusal(rig)
        shapes = rig.controller._robot._collisions._shapes
        assert not shapes.touching(np.concatenate(list(rig.joints.values())))
