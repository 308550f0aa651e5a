# SPDX-License-Identifier: Apache-2.0
"""Drivers that speak messages of other packages, with the real types; else they skip."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='drivers publish through ROS')

from driver_rig import arm_of, installed, PERIOD_S, spinning, tool
from geometry_msgs.msg import PoseStamped
import rclpy
from rclpy.executors import SingleThreadedExecutor

from xvla_ros.control.drivers import make_arm_driver, make_gripper_driver

pytestmark = pytest.mark.ros


def test_an_interbotix_arm_gets_its_group_in_the_order_of_its_driver(node, inbox):
    message = installed('interbotix_xs_msgs', 'msg').JointGroupCommand
    arm, kinematics = arm_of('widowx', driver='interbotix', command_topic='h/joint_group')
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    target = tool(kinematics, home, by=(0.004, 0.0, 0.002))
    plan = driver.plan(target, home, PERIOD_S)
    received = inbox(message, 'h/joint_group').next(lambda: driver.send(plan))
    assert received.name == 'arm'
    # groups.arm of interbotix_xsarm_control/config/wx250s.yaml
    assert arm.joint_names == (
        'waist', 'shoulder', 'elbow', 'forearm_roll', 'wrist_angle', 'wrist_rotate',
    )  # fmt: skip
    position, _ = kinematics.forward(np.array(received.cmd))  # float32 on the wire
    assert np.linalg.norm(position - target.position) < 1e-3
    held = inbox(message, 'h/joint_group').next(lambda: driver.hold(target, home))
    assert np.array(held.cmd) == pytest.approx(home, abs=1e-6)


def test_an_interbotix_gripper_gets_its_motors_command_when_it_changes(node, inbox):
    message = installed('interbotix_xs_msgs', 'msg').JointSingleCommand
    arm, _ = arm_of(
        'widowx', gripper_driver='interbotix',
        **{'gripper.command_topic': 'i/joint_single', 'gripper.command_open': 0.074},
    )  # fmt: skip
    driver, openings = make_gripper_driver(node, arm.gripper), iter(range(10_000))
    box = inbox(message, 'i/joint_single')
    box.next(lambda: driver.send(float(next(openings) % 2)))
    while not box.silent():
        pass
    driver.send(0.5)
    received = box.next(lambda: None)
    middle = (arm.gripper.command_open + arm.gripper.command_closed) / 2
    assert (received.name, received.cmd) == ('gripper', pytest.approx(middle))
    driver.send(0.5)
    assert box.silent()


class Servo:
    """MoveIt Servo's side: its service, and the command type that it was switched to."""

    def __init__(self, service, name, willing=True):
        self.switched, self.willing = [], willing
        self.node = rclpy.create_node(name)
        self.node.create_service(service, '~/switch_command_type', self._on_switch)

    def _on_switch(self, request, answer):
        self.switched.append(request.command_type)
        answer.success = self.willing
        return answer


def test_moveit_servo_is_switched_to_poses_once_and_again_after_a_restart(node, inbox, until):
    service = installed('moveit_msgs', 'srv').ServoCommandType
    topic = 'servo_node/pose_target_cmds'
    arm, kinematics = arm_of('franka', command_topic=topic)
    driver, home = make_arm_driver(node, arm, kinematics), np.array(arm.home_rad)
    assert 'is MoveIt Servo running?' in driver.trouble()
    for _ in range(2):  # the second Servo begins in its own default mode, as the first did
        servo = Servo(service, 'servo_node')
        with spinning(servo.node, SingleThreadedExecutor()):
            until(lambda: driver.trouble() == '')
            assert driver.trouble() == ''
            assert servo.switched == [service.Request.POSE]
            plan = driver.plan(tool(kinematics, home), home, PERIOD_S)
            message = inbox(PoseStamped, topic).next(lambda plan=plan: driver.send(plan))
            assert message.header.frame_id == 'base'
        until(lambda: 'is MoveIt Servo running?' in driver.trouble())


def test_a_servo_that_refuses_is_asked_again(node, until):
    service = installed('moveit_msgs', 'srv').ServoCommandType
    arm, kinematics = arm_of('franka', command_topic='unwilling/pose_target_cmds')
    driver, servo = make_arm_driver(node, arm, kinematics), Servo(service, 'unwilling', False)
    with spinning(servo.node, SingleThreadedExecutor()):
        until(lambda: 'refused' in driver.trouble())
        servo.willing = True
        until(lambda: driver.trouble() == '')
    assert len(servo.switched) >= 2
