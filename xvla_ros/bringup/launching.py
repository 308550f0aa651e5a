# SPDX-License-Identifier: Apache-2.0
"""Turns the table of processes into launch actions; launch/*.launch.py call `describe`."""

from collections.abc import Mapping, Sequence
import sys

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from xvla_ros.bringup.arguments import (
    ARGUMENTS,
    check_names,
    DEFAULTS,
    is_top_level,
    log_level,
    OF_LAUNCH,
    overrides,
    truth,
)
from xvla_ros.bringup.runner import END_TIMEOUT_S
from xvla_ros.bringup.table import embodiment_file, Process, processes
from xvla_ros.bringup.viewer import write_rviz_config
from xvla_ros.core.embodiment import Embodiment, load_embodiment

POLICY, CONTROLLER, SIM = 'policy_node', 'controller_node', 'sim_node'
RESPAWN_DELAY_S = 2.0
# Topics of all robots; simulated ones in a namespace have them to themselves.
SHARED_TOPICS = ('/clock', '/tf', '/tf_static')


def describe(
    names: Sequence[str], *, sim: bool, more: Sequence[str] = (), **defaults: str
) -> LaunchDescription:
    """
    Return the launch description of some processes of the table.

    A user can replace any parameter of the embodiment file by its dotted name, besides the
    declared arguments: limits.max_linear_speed_m_s:=0.05. Any other argument is refused.

    :param names: names of the processes. :param sim: use the robot's *_sim.yaml.
    :param more: arguments that the launch file declares itself. :param defaults: defaults of
        arguments.
    """

    def nodes(context: LaunchContext) -> list[Node]:
        """Return the launch actions for the values that the arguments have at launch."""
        found = context.launch_configurations
        launch_file = context.get_locals_as_dict().get('current_launch_file_path', '')
        check_names(
            found, [*ARGUMENTS, *more, *OF_LAUNCH], all_ours=is_top_level(launch_file, sys.argv)
        )
        given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
        return _nodes(names, sim, {**given, **{k: v for k, v in found.items() if '.' in k}})

    declared = [
        DeclareLaunchArgument(
            name, default_value={**DEFAULTS, **defaults}.get(name, ''), description=text
        )
        for name, text in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def _nodes(names: Sequence[str], sim: bool, given: Mapping[str, str]) -> list[Node]:
    """Return the launch actions for complete arguments."""
    path = embodiment_file(given['embodiment'], sim)
    replaced = overrides(given)
    embodiment = load_embodiment(path, {k: v for k, v in replaced.items() if k != 'use_sim_time'})
    table = processes(path, sim=sim, overrides=replaced)
    nodes = [node(process, given, sim) for process in table if process.name in names]
    return [*nodes, *([rviz(embodiment, given, sim)] if truth('rviz', given['rviz']) else [])]


def node(process: Process, given: Mapping[str, str], sim: bool) -> Node:
    """Return the launch action of one process. Its end ends the launch, unless it respawns."""
    respawn = truth('respawn', given['respawn'])
    # By itself a policy that cannot start stays, so that its status can be read. Here it ends.
    ends = {'exit_on_refusal': True} if process.name == POLICY else {}
    return Node(
        package='xvla_ros',
        executable=process.executable,
        name=process.name,
        namespace=given['namespace'],
        parameters=[str(process.parameters), {**process.overrides, **ends}],
        remappings=[*process.remaps.items(), *_own_topics(given, sim)],
        ros_arguments=['--log-level', log_level(given['log_level'])],
        additional_env=dict(process.environment),
        respawn=respawn,
        respawn_delay=RESPAWN_DELAY_S,
        on_exit=None if respawn else Shutdown(reason=f'{process.name} has ended'),
        # launch's own 5 s are too short where the worker's end takes as long as it may.
        sigterm_timeout=LaunchConfiguration('sigterm_timeout', default=str(END_TIMEOUT_S)),
        output='screen',
    )


def _own_topics(given: Mapping[str, str], sim: bool) -> list[tuple[str, str]]:
    """Return the remappings that give a simulation in a namespace its own clock and frames."""
    return [(t, t[1:]) for t in SHARED_TOPICS] if sim and given['namespace'] else []


def rviz(embodiment: Embodiment, given: Mapping[str, str], sim: bool) -> Node:
    """Return RViz with the robot's topics, in the first arm's base frame."""
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=given['namespace'],
        arguments=['-d', str(write_rviz_config(embodiment, given['namespace']))],
        remappings=_own_topics(given, sim),
    )
