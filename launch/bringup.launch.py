# SPDX-License-Identifier: Apache-2.0
"""
Start policy and controller for a real robot. Its driver and cameras must already run.

The policy starts in dry run and sends no target until it is armed:

ros2 launch xvla_ros bringup.launch.py embodiment:=franka checkpoint:=/data/xvla
ros2 service call /policy_node/arm std_srvs/srv/SetBool '{data: true}'
"""

from launch import LaunchDescription
from xvla_ros.bringup.launching import CONTROLLER, describe, POLICY


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of policy and controller."""
    return describe((POLICY, CONTROLLER), sim=False)
