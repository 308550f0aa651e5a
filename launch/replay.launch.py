# SPDX-License-Identifier: Apache-2.0
"""
Start only the policy, in dry run, on the topics of a bag: see what it would have done.

ros2 launch xvla_ros replay.launch.py embodiment:=franka bag:=bags/pick

Without the argument `bag` play a bag yourself, with `ros2 bag play --clock`. The results differ a
little from run to run; `xvla replay BAG --deterministic` repeats them exactly.
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from xvla_ros.bringup.launching import describe, POLICY
from xvla_ros.tools.replay import live_command


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """Return what plays the bag, for the same robot and parameters as the policy's."""
    given = context.launch_configurations
    if not given['bag']:
        return []
    dotted = {name: value for name, value in given.items() if '.' in name}
    robot = LaunchConfiguration('embodiment').perform(context)
    command = live_command(given['bag'], given['rate'], robot, dotted)
    return [ExecuteProcess(cmd=command, output='screen')]


def generate_launch_description() -> LaunchDescription:
    """Start the policy on the bag's clock, and what plays the bag."""
    description = describe(
        (POLICY,), sim=False, more=('bag', 'rate'), embodiment='franka', use_sim_time='true'
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', default_value='', description='Bag to play.'),
            DeclareLaunchArgument('rate', default_value='1.0', description='How fast.'),
            *description.entities,
            OpaqueFunction(function=player),
        ]
    )
