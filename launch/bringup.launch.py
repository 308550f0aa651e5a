# SPDX-License-Identifier: Apache-2.0
"""
Policy and controller for a real robot whose driver and cameras run already. Starts in dry run.

ros2 launch xvla_ros bringup.launch.py embodiment:=franka checkpoint:=/data/xvla
ros2 service call /policy_node/arm std_srvs/srv/SetBool '{data: true}'
"""

from launch import LaunchDescription
from xvla_ros.tools.launching import CONTROLLER, describe, POLICY


def generate_launch_description() -> LaunchDescription:
    """Start policy and controller."""
    return describe((POLICY, CONTROLLER), sim=False, armed=False)
