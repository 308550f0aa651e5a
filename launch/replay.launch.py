# SPDX-License-Identifier: Apache-2.0
"""
Only the policy, in dry run, on topics that a bag plays: see what it would have done.

ros2 bag play --clock BAG beside ros2 launch xvla_ros replay.launch.py embodiment:=franka

For figures that repeat to the bit use `xvla replay BAG --deterministic` instead.
"""

from launch_ros.actions import SetParameter

from launch import LaunchDescription
from xvla_ros.tools.launching import describe, POLICY


def generate_launch_description() -> LaunchDescription:
    """Start the policy on the bag's clock."""
    description = describe((POLICY,), sim=False, armed=False)
    return LaunchDescription([SetParameter('use_sim_time', True), *description.entities])
