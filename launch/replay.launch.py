# SPDX-License-Identifier: Apache-2.0
"""
Only the policy, in dry run, on topics that a bag plays: see what it would have done.

ros2 launch xvla_ros replay.launch.py embodiment:=franka bag:=bags/pick

Without `bag` something else must play it, as ros2 bag play --clock does. For figures that repeat
to the bit use `xvla replay BAG --deterministic` instead.
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import SetParameter

from launch import LaunchDescription
from xvla_ros.tools.launching import describe, POLICY


def generate_launch_description() -> LaunchDescription:
    """Start the policy on the bag's clock, and what plays the bag."""
    bag = LaunchConfiguration('bag')
    rate = LaunchConfiguration('rate')
    player = ExecuteProcess(
        cmd=['xvla', 'replay', bag, '--clock', '--keep-stamps', '--rate', rate],
        condition=IfCondition(PythonExpression(["'", bag, "' != ''"])),
        output='screen',
    )
    description = describe((POLICY,), sim=False, armed=False)
    return LaunchDescription(
        [
            SetParameter('use_sim_time', True),
            DeclareLaunchArgument('bag', default_value='', description='Bag to play.'),
            DeclareLaunchArgument('rate', default_value='1.0', description='How fast.'),
            *description.entities,
            player,
        ]
    )
