# SPDX-License-Identifier: Apache-2.0
"""
What the keys of package.xml mean: rosdep and the distribution files of 2026-08-22.

ros/rosdistro 8468e88. Each ROS package below is released in humble, jazzy, kilted, lyrical and
rolling, and each key of rosdep is the same in all of them.
"""

ROS = {
    *('action_msgs', 'ament_cmake', 'ament_cmake_pytest', 'builtin_interfaces', 'control_msgs'),
    *('cv_bridge', 'diagnostic_msgs', 'geometry_msgs', 'launch', 'launch_ros'),
    *('launch_testing_ament_cmake', 'lifecycle_msgs', 'pinocchio', 'rclpy', 'ros2launch'),
    *('rosgraph_msgs', 'rosidl_default_generators', 'rosidl_default_runtime', 'rviz2'),
    *('sensor_msgs', 'std_msgs', 'std_srvs', 'tf2_msgs', 'tf2_ros', 'tf2_ros_py'),
    *('trajectory_msgs', 'visualization_msgs'),
}
# rosdep/python.yaml: installed with apt under the key's own name, and with pip.
APT = {
    *('python3-hypothesis', 'python3-matplotlib', 'python3-numpy', 'python3-opencv'),
    *('python3-pil', 'python3-psutil', 'python3-pytest', 'python3-pytest-timeout'),
    *('python3-scipy', 'python3-torch', 'python3-tqdm', 'python3-yaml'),
}
PIP = {'python3-mujoco-pip', 'python3-rosbags-pip', 'python3-transformers-pip'}
# Released in Jazzy, too: packages that error messages and pages name.
JAZZY = {'launch_testing_ros', 'moveit_msgs'}
# In no distribution file of that date: from source only.
SOURCE_ONLY = {'franka_msgs', 'interbotix_xs_msgs', 'piper_msgs'}
