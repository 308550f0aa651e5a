# SPDX-License-Identifier: Apache-2.0
"""
Start the nodes and arguments of bringup.launch.py with a simulated robot instead of hardware.

ros2 launch xvla_ros sim.launch.py embodiment:=widowx
ros2 topic pub --once /instruction std_msgs/msg/String '{data: pick up the red block}'

The policy is armed from the start. With armed:=false it starts in dry run as on a real robot, so
that you can rehearse arming. To start the simulated cell alone:

ros2 run xvla_ros sim_node --ros-args --params-file FILE
"""

from launch import LaunchDescription
from xvla_ros.bringup.launching import CONTROLLER, describe, POLICY, SIM


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of simulated cell, policy and controller."""
    return describe((SIM, POLICY, CONTROLLER), sim=True, embodiment='franka', armed='true')
