# SPDX-License-Identifier: Apache-2.0
"""Arguments for demonstrations, and the demonstrations that they select."""

from argparse import Namespace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count

if TYPE_CHECKING:  # what reads data takes seconds to import
    from argparse import _ArgumentGroup, ArgumentParser

    from xvla_ros.data.checks.asked import Asked
    from xvla_ros.data.context import Context
    from xvla_ros.data.episodes import Episode
    from xvla_ros.data.source import Source


# Recordings of simulated robots; memory, because they are read at random.
RECORDINGS = Path('/dev/shm/xvla_joint_samples')


def add_source_arguments(group: 'ArgumentParser | _ArgumentGroup') -> None:
    """Declare the arguments for demonstrations: recordings, or the scripted expert."""
    group.add_argument(
        '--source',
        action='append',
        default=[],
        metavar='DATA',
        help='recorded demonstrations: a source file (docs/data.md), a bag, a folder of bags, or '
        'the output of `xvla convert-data`; may be repeated',
    )
    add_description(group)
    group.add_argument(
        '--simulated',
        type=count,
        default=0,
        metavar='N',
        help='number of demonstrations of the scripted expert in simulation; in joint space the '
        'number of scenes, with its plans from five states to each block',
    )
    group.add_argument(
        '--recordings',
        type=Path,
        default=RECORDINGS,
        help='folder for simulated data in joint space; reused when complete',
    )


def add_description(group: 'ArgumentParser | _ArgumentGroup') -> None:
    """Declare the argument for the meaning of the data's numbers."""
    group.add_argument(
        '--as',
        dest='description',
        default='',
        metavar='NAME',
        help='meaning of DATA: a source file, or the name of a shipped one (config/sources)',
    )


def named_data(args: Namespace) -> bool:
    """
    Tell whether demonstrations are named.

    :raises ConfigError: both recorded and simulated ones are.
    """
    if args.source and args.simulated:
        raise ConfigError('--source and --simulated: expected one of them')
    return bool(args.source or args.simulated)


def sources_of(args: Namespace) -> 'list[Source]':
    """Return the named sources."""
    from xvla_ros.data.opening import open_source

    return [open_source(name, args.description) for name in args.source]


def robot_of(args: Namespace, command: str) -> Embodiment:
    """
    Return the named robot, or else the data's.

    :raises ConfigError: there is not exactly one.
    """
    names = list(args.embodiment or ())
    if not names and args.source:
        found = recorded_robot(sources_of(args)[0])
        if found is not None:
            return found
    if len(names) != 1:
        raise ConfigError(
            f'{command}: {len(names)} embodiments are named, expected one: '
            '--embodiment my_robot.yaml'
        )
    return load_embodiment(embodiment_file(names[0], sim=bool(args.simulated)))


def named_robot(name: str | None, source: 'Source') -> Embodiment | None:
    """Return the robot of a name or file, or else the data's, if any."""
    if name:
        return load_embodiment(embodiment_file(name, sim=False))
    return recorded_robot(source)


def recorded_robot(source: 'Source') -> Embodiment | None:
    """Return the robot in a source file, or the recorded one of its first bag."""
    from xvla_ros.bags.bag import open_bag
    from xvla_ros.data.opening import source_paths
    from xvla_ros.data.source import ROSBAG

    if source.embodiment:
        return load_embodiment(embodiment_file(source.embodiment, sim=False))
    if source.format != ROSBAG:
        return None
    path = source_paths(source)[0]
    recording = open_bag(path).recording
    return recording.load_embodiment(str(path), {}) if recording else None


def context_of(args: Namespace, embodiment: Embodiment | None) -> 'Context':
    """Return the readers' context; without a named robot, bags use the recorded one."""
    from xvla_ros.data.context import Context
    from xvla_ros.tools.transforms import recorded_transforms

    return Context(embodiment=embodiment, transforms=recorded_transforms())


def episodes_of(args: Namespace, embodiment: Embodiment) -> 'list[Episode]':
    """
    Return the demonstrations selected by the arguments.

    :raises DataError: one is broken, with file, episode and frame.
    """
    if not args.source:
        return simulated(args, embodiment)
    from xvla_ros.data.checks.engine import refuse_broken
    from xvla_ros.data.opening import load_episodes

    context, episodes = context_of(args, embodiment), list['Episode']()
    for source in sources_of(args):
        found = load_episodes(source, context)
        refuse_broken(found, asked_of(source, embodiment))
        episodes += found
    return episodes


def simulated(args: Namespace, embodiment: Embodiment) -> 'list[Episode]':
    """Return demonstrations of the scripted expert, in the space that the robot is driven in."""
    if embodiment.joint_space:
        from xvla_ros.adapt.demo.joint_demonstrations import joint_demonstrations

        folder = args.recordings / f'seed-{args.seed}'
        return joint_demonstrations(embodiment, args.simulated, args.seed, folder)
    from xvla_ros.adapt.demo.demonstrations import Demonstrator

    return Demonstrator(embodiment).record(args.simulated, args.seed)


def asked_of(source: 'Source', embodiment: Embodiment | None, **more: Any) -> 'Asked':
    """Return the criteria for the check of a source's episodes."""
    from xvla_ros.data.checks.asked import Asked

    begin, window_s = source.grippers_begin, source.window_s
    return Asked(embodiment=embodiment, grippers_begin=begin, window_s=window_s, **more)
