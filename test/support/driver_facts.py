# SPDX-License-Identifier: Apache-2.0
"""
What the drivers' own sources say, read on 2026-11-28: setting -> (value, where it is from).

Commits: franka_ros2 29cb85a (jazzy), crisp_controllers 8093548, crisp_controllers_demos db5a36b,
interbotix_ros_manipulators 04a3506 (jazzy), interbotix_ros_core bf127b4 (jazzy), Piper_ros 8e5a686
(ros-humble-no-aloha); of 2026-11-29: Universal_Robots_ROS2_Driver a16a268 (jazzy),
ros2_robotiq_gripper 3b6cf8f (main). Paths are within the folders that the comments of the files
name.
"""

FR3_JOINTS = tuple(f'fr3_joint{n}' for n in range(1, 8))
WX250S_JOINTS = ('waist', 'shoulder', 'elbow', 'forearm_roll', 'wrist_angle', 'wrist_rotate')
FRANKA = {
    'base_frame': ('base', 'crisp_controllers_demos config/fr3/controllers.yaml:64'),
    'tool_frame': ('fr3_hand_tcp', 'crisp_controllers_demos config/fr3/controllers.yaml:63'),
    'pose_topic': ('current_pose', 'crisp_controllers src/pose_broadcaster.cpp:157'),
    'command_topic': ('target_pose', 'crisp_controllers src/cartesian_controller.cpp:373'),
    'joint_states_topic': ('joint_states', 'franka_ros2 franka_bringup/launch/franka.launch.py'),
    'joint_names': (FR3_JOINTS, 'crisp_controllers_demos config/fr3/controllers.yaml'),
    'gripper.joint_states_topic': (
        'franka_gripper/joint_states',
        'franka_ros2 franka_gripper/launch/gripper.launch.py:46',
    ),
    'gripper.joint_names': (
        ('fr3_finger_joint1', 'fr3_finger_joint2'),
        'franka_ros2 franka_gripper/launch/gripper.launch.py:31',
    ),
    'gripper.command_topic': (
        'franka_gripper',
        'franka_ros2 franka_gripper/launch/gripper.launch.py:46',
    ),
}
WIDOWX = {
    'tool_frame': (
        'wx250s/ee_gripper_link',
        'interbotix_xsarm_descriptions/urdf/wx250s.urdf.xacro:747',
    ),
    'joint_names': (WX250S_JOINTS, 'interbotix_xsarm_control/config/wx250s.yaml:12'),
    'joint_states_topic': ('wx250s/joint_states', 'interbotix_xsarm_control/config/wx250s.yaml:9'),
    'command_topic': (
        'wx250s/arm_controller/joint_trajectory',
        'interbotix_xsarm_ros_control/config/controllers/wx250s_controllers.yaml:5',
    ),
    'gripper.command_topic': (
        'wx250s/gripper_controller/joint_trajectory',
        'interbotix_xsarm_ros_control/config/controllers/wx250s_controllers.yaml:7',
    ),
    'gripper.joint_names': (('left_finger',), 'interbotix_xsarm_control/config/wx250s.yaml:18'),
    'gripper.open_position': (0.037, 'wx250s.urdf.xacro:60'),
    'gripper.closed_position': (0.015, 'wx250s.urdf.xacro:59'),
}


def _piper(side: str) -> dict[str, tuple[object, str]]:
    """Return the facts of one arm of a pair whose driver counts joints from 0."""
    node = 'Piper_ros src/piper/piper/piper_ctrl_single_node.py'
    return {
        'joint_names': (tuple(f'joint{n}' for n in range(6)), f'{node}:50'),
        'gripper.joint_names': (('joint6',), f'{node}:50'),
        'joint_states_topic': (f'{side}/joint_states_single', f'{node}:43'),
        'command_topic': (f'{side}/joint_ctrl_single', f'{node}:62'),
    }


UR_JOINTS = (
    *('shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint'),
    *('wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint'),
)
UR5E = {
    'joint_names': (UR_JOINTS, 'ur_robot_driver/config/ur_controllers.yaml:120'),
    'joint_states_topic': ('joint_states', 'ur_robot_driver/config/ur_controllers.yaml:3'),
    'command_topic': (
        'scaled_joint_trajectory_controller/joint_trajectory',
        'ur_robot_driver/config/ur_controllers.yaml:117',
    ),
    'gripper.joint_names': (
        ('robotiq_85_left_knuckle_joint',),
        'robotiq_description/config/robotiq_controllers.yaml:14',
    ),
    'gripper.open_position': (0.0, 'robotiq_description/urdf/robotiq_2f_85_macro.urdf.xacro:252'),
    'gripper.closed_position': (0.7929, 'robotiq_description/urdf/2f_85.ros2_control.xacro:18'),
    'gripper.driver': (
        'parallel_gripper_command',
        'robotiq_description/config/robotiq_controllers.yaml:8',
    ),
    'gripper.command_topic': (
        'robotiq_gripper_controller/gripper_cmd',
        'robotiq_description/config/robotiq_controllers.yaml:7, ros2_controllers '
        'parallel_gripper_action_controller_impl.hpp (~/gripper_cmd)',
    ),
    'gripper.max_effort': (50.0, 'robotiq_description/config/robotiq_controllers.yaml:18'),
    'gripper.speed': (0.5, 'robotiq_description/config/robotiq_controllers.yaml:22'),
}


SETTINGS = {
    ('franka', 'arm'): FRANKA,
    ('widowx', 'arm'): WIDOWX,
    ('ur5e', 'arm'): UR5E,
    ('agilex_joint0', 'left'): _piper('left'),
    ('agilex_joint0', 'right'): _piper('right'),
}
# Rates at which the drivers publish as they ship [Hz], by the setting that bounds their age.
RATES_HZ = {
    ('franka', 'arm', 'max_age_s'): (
        30.0,
        'franka_ros2 franka_bringup/config/franka.config.yaml:15',
    ),
    ('franka', 'arm', 'gripper_max_age_s'): (
        15.0,
        'franka_ros2 franka_gripper/config/franka_gripper_node.yaml:3',
    ),
    ('widowx', 'arm', 'max_age_s'): (100.0, 'interbotix_xsarm_control/config/wx250s.yaml:7'),
    ('ur5e', 'arm', 'max_age_s'): (500.0, 'ur_robot_driver/config/ur5e_update_rate.yaml:3'),
    ('agilex_joint0', 'left', 'max_age_s'): (200.0, 'Piper_ros piper_ctrl_single_node.py'),
}
