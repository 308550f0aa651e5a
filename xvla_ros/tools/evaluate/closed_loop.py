# SPDX-License-Identifier: Apache-2.0
"""Run a policy on simulated robots without ROS, in scenes that were not in the training data."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count

if TYPE_CHECKING:  # these import torch and mujoco, which --help does not need
    from argparse import _ArgumentGroup

    from xvla_ros.adapt.closed_loop import Conditions, Outcome
    from xvla_ros.core.embodiment import Embodiment
    from xvla_ros.model.policy import Policy

TASKS = ('pick', 'bimanual')
SCENES = {'evaluate': 'EVALUATE', 'validate': 'VALIDATE', 'train': 'TRAIN'}


def add_arguments(group: '_ArgumentGroup') -> None:
    """Declare the arguments of a closed loop."""
    group.add_argument('--episodes', type=count, default=12, help='episodes per robot')
    group.add_argument(
        '--scenes',
        choices=tuple(SCENES),
        default='evaluate',
        help='which scenes to use; validate is for choosing a checkpoint while you train',
    )
    group.add_argument(
        '--warm-start',
        type=float,
        default=0.0,
        metavar='TIME',
        help='start denoising at this flow time, from the plan that is being executed (default: '
        'start from noise)',
    )
    group.add_argument(
        '--latency', type=float, default=0.1, metavar='S', help='duration of an inference [s]'
    )
    group.add_argument(
        '--task',
        choices=TASKS,
        default=TASKS[0],
        help='bimanual: a block for each of two arms',
    )
    group.add_argument(
        '--lift',
        action='store_true',
        help='episodes go on until the blocks are lifted, not until one is reached (always with '
        '--ros)',
    )
    group.add_argument(
        '--limit', type=float, default=12.0, metavar='S', help='longest episode [s]'
    )


def evaluate_all(args: Namespace) -> list[dict[str, Any]]:
    """Run all episodes of all robots."""
    from xvla_ros.adapt.closed_loop import Conditions
    from xvla_ros.model.loading import load_policy
    from xvla_ros.tools.adapt.demo import robots

    folder = args.checkpoint
    policy = load_policy(folder, dtype=args.dtype, backend=args.backend)
    conditions = Conditions(
        limit_s=args.limit,
        latency_s=args.latency,
        steps=args.steps,
        warm_start_time=args.warm_start,
        lift=args.lift,
    )
    named = [on_row(robot, args.row) for robot in robots(args.embodiment)]
    for robot in named:
        check_row(robot, policy, folder)
    return [evaluate_robot(robot, policy, conditions, args) for robot in named]


def on_row(robot: 'Embodiment', row: int | None) -> 'Embodiment':
    """Return the embodiment with another row of the checkpoint, where one is given."""
    return robot if row is None else replace(robot, policy=replace(robot.policy, domain_id=row))


def check_row(robot: 'Embodiment', policy: 'Policy', folder: Path) -> None:
    """
    Check that a checkpoint was trained for a robot.

    :raises ConfigError: the checkpoint does not have the robot's domain_id, or has not trained it.
    :raises CheckpointError: it has another action mode, or too few view slots for the cameras.
    """
    from xvla_ros.runtime.predictor import check_fit, facts_of

    rows = policy.trained_domains or tuple(range(policy.config.num_domains))
    if robot.policy.domain_id not in rows:
        raise ConfigError(
            f"checkpoint '{folder}' was not trained for embodiment '{robot.robot}': its "
            f'policy.domain_id is {robot.policy.domain_id}, expected one of {list(rows)}; '
            "see docs/add-a-robot.md, 'Teach a policy'"
        )
    named = replace(robot, policy=replace(robot.policy, checkpoint=str(folder)))
    check_fit(named, facts_of(policy))


def evaluate_robot(
    robot: 'Embodiment', policy: 'Policy', conditions: 'Conditions', args: Namespace
) -> dict[str, Any]:
    """Run one robot's episodes and print the result."""
    from tqdm import tqdm

    from xvla_ros.adapt.closed_loop import evaluate
    from xvla_ros.sim import scenes

    purpose = getattr(scenes, SCENES[args.scenes])
    episodes = tqdm(range(args.episodes), robot.robot, unit='episode')
    outcomes = evaluate(robot, policy, purpose, args.seed, episodes, conditions, args.task)
    result = summary(robot.robot, outcomes, args.lift) | {'task': args.task}
    print(describe(result))
    return result


def describe(result: dict[str, Any]) -> str:
    """Return the result as one line."""
    low, high = result['reached_95']
    least, most = result['lifts_95']
    ended = 'lifted' if result['lift'] else 'reached'
    lifted = (
        f'{result["lifts"]} lifted ({least:.0%} to {most:.0%}), '
        f'{result["wrong_colour"]} picked up a wrong block, '
    )
    return (
        f'{result["robot"]}: {result["reached"]} of {result["episodes"]} reached '
        f'({low:.0%} to {high:.0%} with 95 % confidence), '
        f'{result["wrong"]} went to a wrong block, {result["time_s"]:.1f} s when {ended}, '
        f'{result["distance_mm"]:.0f} mm off at the end, '
        f'{lifted if result["lift"] else ""}'
        f'idle arm moved {result["idle_mm"]:.0f} mm at most'
    )


def summary(robot: str, outcomes: list['Outcome'], lift: bool) -> dict[str, Any]:
    """Count outcomes; `lift`: the time is that of a lift, not of a reach."""
    from xvla_ros.adapt.judging import wilson

    reached = [outcome for outcome in outcomes if outcome.reached]
    lifted = [outcome for outcome in outcomes if outcome.lifted]
    ended = lifted if lift else reached
    return {
        'robot': robot,
        'episodes': len(outcomes),
        'reached': len(reached),
        'reached_95': wilson(len(reached), len(outcomes)),
        'wrong': sum(bool(outcome.wrong) for outcome in outcomes),
        'lift': lift,
        'lifts': len(lifted),
        'lifts_95': wilson(len(lifted), len(outcomes)),
        'wrong_colour': sum(bool(outcome.picked) for outcome in outcomes),
        'missed_episodes': [o.scene.episode for o in outcomes if not o.reached],
        'time_s': sum(o.time_s for o in ended) / max(1, len(ended)),
        'distance_mm': 1e3 * sum(o.distance_m for o in outcomes) / len(outcomes),
        'idle_mm': 1e3 * max(o.idle_m for o in outcomes),
    }
