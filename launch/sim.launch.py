# SPDX-License-Identifier: Apache-2.0
"""
Only the simulated cell, behind the topics of the real robot's driver.

ros2 launch xvla_ros sim.launch.py embodiment:=widowx
"""

from launch import LaunchDescription
from xvla_ros.tools.launching import describe, SIM


def generate_launch_description() -> LaunchDescription:
    """Start the cell."""
    return describe((SIM,), sim=True)
