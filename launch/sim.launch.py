# SPDX-License-Identifier: Apache-2.0
"""
bringup.launch.py with a simulated robot in place of hardware: same nodes, same arguments.

ros2 launch xvla_ros sim.launch.py embodiment:=widowx
ros2 topic pub --once /instruction std_msgs/msg/String '{data: pick up the red block}'

Armed from the start; armed:=false rehearses the dry run and arming of a real robot. The cell alone
is `ros2 run xvla_ros sim_node --ros-args --params-file FILE`.
"""

from launch import LaunchDescription
from xvla_ros.tools.launching import CONTROLLER, describe, POLICY, SIM


def generate_launch_description() -> LaunchDescription:
    """Start cell, policy and controller."""
    return describe((SIM, POLICY, CONTROLLER), sim=True)
