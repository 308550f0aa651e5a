# SPDX-License-Identifier: Apache-2.0
"""
Start sim.launch.py with an instruction: a policy drives a simulated robot.

ros2 launch xvla_ros demo.launch.py embodiment:=franka instruction:='pick up the blue block'
"""

from launch import LaunchDescription
from xvla_ros.bringup.launching import CONTROLLER, describe, POLICY, SIM


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of simulated cell, policy and controller."""
    return describe(
        (SIM, POLICY, CONTROLLER),
        sim=True,
        embodiment='franka',
        armed='true',
        instruction='pick up the red block',
    )
