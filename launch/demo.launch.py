# SPDX-License-Identifier: Apache-2.0
"""
sim.launch.py with something to do: a policy drives a simulated robot, in one command.

ros2 launch xvla_ros demo.launch.py embodiment:=franka instruction:='pick up the blue block'
"""

from launch import LaunchDescription
from xvla_ros.tools.launching import CONTROLLER, describe, POLICY, SIM


def generate_launch_description() -> LaunchDescription:
    """Start cell, policy and controller, with something to do."""
    return describe((SIM, POLICY, CONTROLLER), sim=True, instruction='pick up the red block')
