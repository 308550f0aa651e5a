# SPDX-License-Identifier: Apache-2.0
"""Run a policy on simulated robots over the ROS graph, and count what it lifts."""

from argparse import Namespace
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.evaluate.closed_loop import TASKS
from xvla_ros.tools.needs import need_ros

if TYPE_CHECKING:  # needs mujoco and ROS, which --help does not
    from argparse import _ArgumentGroup

    from xvla_ros.tools.demo.report import Run

OUT = Path('out/evaluate')


def add_arguments(group: '_ArgumentGroup') -> None:
    """Declare the arguments of a closed loop over ROS."""
    group.add_argument(
        '--ros', action='store_true', help='drive over ROS, as `xvla demo` does; count lifts'
    )
    group.add_argument(
        '--out', type=Path, default=OUT, help='folder for ROBOT.json (default: out/evaluate)'
    )


def evaluate(args: Namespace) -> list[dict[str, Any]]:
    """
    Run all episodes of all robots over ROS; write and print what came out.

    :raises ConfigError: other scenes than those for evaluation are asked for.
    """
    from xvla_ros.tools.adapt.demo import robots

    need_ros('xvla evaluate --ros')
    if args.scenes != 'evaluate':
        raise ConfigError(f'xvla evaluate --ros: --scenes {args.scenes}, expected evaluate')
    names = args.embodiment or [robot.robot for robot in robots(None)]
    return [evaluate_robot(name, args) for name in names]


def evaluate_robot(name: str, args: Namespace) -> dict[str, Any]:
    """Run one robot's episodes; write its results and print them."""
    from xvla_ros.tools.demo.command import drive

    embodiment, run = drive(demo_arguments(name, args))
    result = summary(embodiment.robot, run, args)
    suffix = '' if args.task == TASKS[0] else f'_{args.task}'
    path = args.out / f'{embodiment.robot}{suffix}.json'
    path.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
    print(f'{describe(result)}; {path}')
    return result


def demo_arguments(name: str, args: Namespace) -> Namespace:
    """Return the arguments of `xvla demo` that do what is asked for."""
    rows = [] if args.row is None else [('policy.domain_id', args.row)]
    return Namespace(
        embodiment=name, episodes=args.episodes, seed=args.seed, task=args.task,
        time_limit=args.limit, checkpoint=str(args.checkpoint), record=None,
        out=args.out / f'{Path(name).stem}-{args.task}', set=[
            ('policy.denoising_steps', args.steps), ('policy.warm_start_time', args.warm_start),
            *rows,
        ],
    )  # fmt: skip


def summary(robot: str, run: 'Run', args: Namespace) -> dict[str, Any]:
    """Count episodes; intervals are Wilson's of 95 %."""
    from xvla_ros.adapt.judging import wilson

    episodes = run.episodes
    counts = {
        'lifts': sum(e.lifted for e in episodes),
        'wrong_colour': sum(bool(e.wrong) for e in episodes),
        'reached': sum(e.succeeded for e in episodes),
    }
    return {
        'embodiment': robot,
        'task': args.task,
        'checkpoint': str(args.checkpoint),
        'seed': args.seed,
        'episodes': len(episodes),
        **counts,
        **{f'{name}_95': wilson(number, len(episodes)) for name, number in counts.items()},
        'not_lifted': [e.number for e in episodes if not e.lifted],
        'controller_stops': run.controller_stops,
        'real_time_factor': round(run.real_time_factor, 3),
    }


def describe(result: dict[str, Any]) -> str:
    """Say in a line what came out."""
    said = ', '.join(
        f'{result[name]} {words} ({low:.0%} to {high:.0%})'
        for name, words in (
            ('lifts', 'lifted'), ('wrong_colour', 'took a wrong block'), ('reached', 'reached'),
        )
        for low, high in [result[f'{name}_95']]
    )  # fmt: skip
    return f'{result["embodiment"]}, of {result["episodes"]} episodes: {said} with 95 % confidence'
