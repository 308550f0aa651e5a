# SPDX-License-Identifier: Apache-2.0
"""The table of processes as launch actions; launch/*.launch.py are made of these."""

from collections.abc import Sequence
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
import yaml

from launch import LaunchContext, LaunchDescription
from xvla_ros.bringup import checkpoint_folder, embodiment_file, Process, processes
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

POLICY, CONTROLLER, SIM = 'policy_node', 'controller_node', 'sim_node'


def describe(
    names: Sequence[str],
    *,
    sim: bool,
    robot: str = 'franka',
    instruction: str = '',
    armed: bool = True,
) -> LaunchDescription:
    """
    Return the launch description of some processes of the table.

    Besides the declared arguments, any parameter of the embodiment's file can be replaced by its
    dotted name: limits.max_linear_speed_m_s:=0.05.

    :param names: which; :param sim: take the robot's *_sim.yaml. :param robot: default embodiment.
    :param instruction: default of that argument. :param armed: default of that argument.
    """

    def nodes(context: LaunchContext) -> list[Node]:
        """Return the nodes of the arguments as they are at launch."""
        given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
        dotted = {k: v for k, v in context.launch_configurations.items() if '.' in k}
        path = embodiment_file(given['embodiment'], sim)
        replaced = overrides({**given, **dotted})
        table = processes(path, sim=sim, overrides=replaced)
        viewer = rviz(load_embodiment(path, replaced))
        return [*(node(process) for process in table if process.name in names), viewer]

    defaults = {'embodiment': robot, 'instruction': instruction, 'armed': str(armed).lower()}
    arguments = [
        DeclareLaunchArgument(name, default_value=defaults.get(name, ''), description=text)
        for name, text in ARGUMENTS.items()
    ]
    show = DeclareLaunchArgument(
        'rviz', default_value='false', description='Show the plan in RViz.'
    )
    return LaunchDescription([*arguments, show, OpaqueFunction(function=nodes)])


ARGUMENTS = {
    'embodiment': 'Robot whose file in config/ is taken, or a parameter file.',
    'checkpoint': "Checkpoint in place of the embodiment's.",
    'server_url': 'X-VLA server to ask in place of a checkpoint.',
    'instruction': 'What to do from the start; empty waits for one.',
    'armed': 'Targets leave from the start: true or false. False is a dry run until ~/arm.',
}


def overrides(chosen: dict[str, str]) -> dict[str, Any]:
    """
    Return the parameters that launch arguments replace; an empty argument replaces nothing.

    :param chosen: the declared arguments and parameters by their dotted names, as text.
    :raises ConfigError: `armed` is neither true nor false.
    """
    if chosen['armed'] not in ('true', 'false'):
        raise ConfigError(f"argument armed: expected true or false, got '{chosen['armed']}'")
    given = {name: yaml.safe_load(value) for name, value in chosen.items() if '.' in name}
    given['control.start_armed'] = chosen['armed'] == 'true'
    given |= {
        f'policy.{name}': chosen[name]
        for name in ('checkpoint', 'server_url', 'instruction')
        if chosen[name]
    }
    if chosen['checkpoint']:
        given['policy.checkpoint'] = checkpoint_folder(chosen['checkpoint'])
    if chosen['server_url'] and not chosen['checkpoint']:
        given['policy.checkpoint'] = ''  # one of the two: the server stands in for the checkpoint
    return given


def node(process: Process) -> Node:
    """Return one process as a launch action."""
    return Node(
        package='xvla_ros',
        executable=process.executable,
        name=process.name,
        parameters=[str(process.parameters), dict(process.overrides)],
        remappings=list(process.remaps.items()),
        additional_env=dict(process.environment),
        output='screen',
    )


def rviz(embodiment: Embodiment) -> Node:
    """Return RViz, started when the argument `rviz` says so, in the first arm's base frame."""
    base = next(iter(embodiment.arms.values())).base_frame
    return Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(shared_file('config', 'xvla.rviz')), '-f', base],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
