# SPDX-License-Identifier: Apache-2.0
"""
Start two robots, each in a namespace of its own: /left and /right.

ros2 launch xvla_ros two_robots.launch.py left:=widowx right:=franka

With sim:=false the robots are real: each starts in dry run, on topics below its namespace. To give
each its own checkpoint or limits, copy this file and add arguments to `robot`.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression

from launch import LaunchDescription

HERE = Path(__file__).resolve().parent
SIDES = {'left': 'widowx', 'right': 'franka'}


def robot(namespace: str) -> GroupAction:
    """Return what starts one robot; a group keeps its arguments from the other's."""
    name = ['"sim" if "', LaunchConfiguration('sim'), '" in ("true", "True", "1") else "bringup"']
    file = [f'{HERE}/', PythonExpression(name), '.launch.py']
    arguments = {'namespace': namespace, 'embodiment': LaunchConfiguration(namespace)}
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(file), launch_arguments=arguments.items()
    )
    return GroupAction([include], scoped=True, forwarding=True)


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of both robots."""
    declared = [
        DeclareLaunchArgument(side, default_value=name, description=f'Robot in /{side}.')
        for side, name in SIDES.items()
    ]
    sim = DeclareLaunchArgument('sim', default_value='true', description='Simulate the robots.')
    return LaunchDescription([*declared, sim, *(robot(side) for side in SIDES)])
