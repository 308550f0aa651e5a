# SPDX-License-Identifier: Apache-2.0
"""
What the stock drivers of a robot publish and listen to: `python stock_drivers.py franka`.

Names, types, frames, joints and rates are those of the drivers' sources (driver_facts.py names the
commits), independent of our files. Images are small; a driver's are not, but that is not tested.
"""

from array import array
from dataclasses import dataclass
import sys
import time

from geometry_msgs.msg import PoseStamped
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

# Where each arm is; any place within its limits does [rad, m].
FR3 = {f'fr3_joint{n}': q for n, q in enumerate((0.0, -0.8, 0.0, -2.4, 0.0, 1.6, 0.8), 1)}
FR3_FINGERS = {'fr3_finger_joint1': 0.035, 'fr3_finger_joint2': 0.035}
# Interbotix' xs_sdk names the motor of the gripper, too, and both fingers.
WX250S = {
    **dict.fromkeys(('waist', 'shoulder', 'elbow', 'forearm_roll', 'wrist_angle'), 0.1),
    **{'wrist_rotate': 0.0, 'gripper': 0.5, 'left_finger': 0.03, 'right_finger': -0.03},
}
PIPER = {**{f'joint{n}': q for n, q in enumerate((0.0, 1.0, -0.7, 0.0, 0.5, 0.0), 1)}}
PIPER_JOINT0 = {f'joint{n}': q for n, q in enumerate((*PIPER.values(), 0.05))}
# As joint_state_broadcaster sorts them: by name.
UR5E = {
    **{'elbow_joint': 1.8, 'shoulder_lift_joint': -1.7, 'shoulder_pan_joint': -0.3},
    **{'wrist_1_joint': -1.7, 'wrist_2_joint': -1.6, 'wrist_3_joint': -1.9},
}
ROBOTIQ = {'robotiq_85_left_knuckle_joint': 0.1, 'robotiq_85_right_knuckle_joint': -0.1}


@dataclass(frozen=True, kw_only=True)
class Stock:
    """
    One robot's drivers.

    states: (topic, rate [Hz], joints); a topic may have several publishers. poses: (topic, rate,
    frame). cameras: topics, at 30 Hz. commands: (topic, type) that the drivers listen to.
    """

    states: tuple = ()
    poses: tuple = ()
    cameras: tuple = ()
    commands: tuple = ()


THIRD, WRIST = 'main_camera/color/image_raw', 'wrist_camera/color/image_raw'
ALOHA = tuple(f'camera_{side}/color/image_raw' for side in 'flr')
STOCK = {
    'franka': Stock(
        states=(
            ('joint_states', 30.0, {**FR3, **FR3_FINGERS}),
            ('franka_gripper/joint_states', 15.0, FR3_FINGERS),
        ),
        poses=(('current_pose', 1000.0, 'base'),),
        cameras=(THIRD, WRIST),
        commands=(('target_pose', PoseStamped),),
    ),
    'widowx': Stock(
        states=(('wx250s/joint_states', 100.0, WX250S),),
        cameras=(THIRD,),
        commands=(
            ('wx250s/arm_controller/joint_trajectory', JointTrajectory),
            ('wx250s/gripper_controller/joint_trajectory', JointTrajectory),
        ),
    ),
    'agilex': Stock(
        states=tuple(
            (f'joint_{side}', 200.0, {**PIPER, 'gripper': 0.05}) for side in ('left', 'right')
        ),
        cameras=ALOHA,
        commands=tuple((f'joint_ctrl_cmd_{side}', JointState) for side in ('left', 'right')),
    ),
    'agilex_joint0': Stock(
        states=tuple(
            (f'{side}/joint_states_single', 200.0, PIPER_JOINT0) for side in ('left', 'right')
        ),
        cameras=ALOHA,
        commands=tuple((f'{side}/joint_ctrl_single', JointState) for side in ('left', 'right')),
    ),
    'ur5e': Stock(
        states=(('joint_states', 500.0, UR5E), ('joint_states', 500.0, ROBOTIQ)),
        cameras=(THIRD, WRIST),
        commands=(
            ('scaled_joint_trajectory_controller/joint_trajectory', JointTrajectory),
            ('forward_position_controller/commands', Float64MultiArray),
        ),
    ),
}
CAMERA_RATE_HZ, WIDTH, HEIGHT = 30.0, 64, 48
LATE_S = 0.1  # what is later than this is left out, as a driver that was stopped leaves it out


def streams(node, stock):
    """Yield a publisher, a function that makes its message, and its period [s]."""
    for topic, rate_hz, joints in stock.states:
        publisher = node.create_publisher(JointState, topic, 10)
        state = JointState(name=list(joints), position=array('d', joints.values()))
        yield publisher, state, 1 / rate_hz
    for topic, rate_hz, frame in stock.poses:
        pose = PoseStamped()
        pose.header.frame_id, pose.pose.orientation.w = frame, 1.0
        yield node.create_publisher(PoseStamped, topic, 10), pose, 1 / rate_hz
    for topic in stock.cameras:
        image = Image(width=WIDTH, height=HEIGHT, step=3 * WIDTH, encoding='rgb8')
        image.data = array('B', bytes(3 * WIDTH * HEIGHT))
        publisher = node.create_publisher(Image, topic, qos_profile_sensor_data)
        yield publisher, image, 1 / CAMERA_RATE_HZ


def main(robot):
    """Publish until the process is ended."""
    rclpy.init()
    node, stock = rclpy.create_node('stock_drivers'), STOCK[robot]
    for topic, kind in stock.commands:
        node.create_subscription(kind, topic, lambda message: None, 1)
    begun_s, due_s = time.monotonic(), {}
    everything = list(enumerate(streams(node, stock)))
    while True:
        now_s = time.monotonic() - begun_s
        for index, (publisher, message, period_s) in everything:
            due = max(due_s.get(index, 0.0), now_s - LATE_S)
            while due <= now_s:
                message.header.stamp = node.get_clock().now().to_msg()
                publisher.publish(message)
                due += period_s
            due_s[index] = due
        time.sleep(0.002)


if __name__ == '__main__':
    main(sys.argv[1])
