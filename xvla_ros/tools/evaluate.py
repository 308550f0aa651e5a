# SPDX-License-Identifier: Apache-2.0
"""Run a policy on simulated robots, without ROS, on scenes that no training saw."""

from argparse import ArgumentParser, Namespace
import json
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count

if TYPE_CHECKING:  # these import torch and mujoco, which --help can do without
    from xvla_ros.adapt.closed_loop import Conditions, Outcome
    from xvla_ros.core.embodiment import Embodiment
    from xvla_ros.model.policy import Policy

CHECKPOINT = 'demo_policy'
SCENES = {'evaluate': 'EVALUATE', 'validate': 'VALIDATE', 'train': 'TRAIN'}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--checkpoint', type=Path, default=Path(CHECKPOINT), help='checkpoint folder'
    )
    parser.add_argument(
        '--embodiment',
        action='append',
        help='simulated robot, or a parameter file; may be repeated (default: all that the demo '
        'policy drives)',
    )
    parser.add_argument('--episodes', type=count, default=12, help='episodes per robot')
    parser.add_argument('--seed', type=int, default=0, help='seed of the scenes')
    parser.add_argument(
        '--scenes',
        choices=tuple(SCENES),
        default='evaluate',
        help='validate: for use while training',
    )
    parser.add_argument('--steps', type=int, default=4, help='denoising steps')
    parser.add_argument(
        '--warm-start',
        type=float,
        default=0.0,
        metavar='TIME',
        help='flow time to start denoising at, from the plan in execution (default: from noise)',
    )
    parser.add_argument(
        '--latency', type=float, default=0.1, metavar='S', help='time an inference takes'
    )
    parser.add_argument('--limit', type=float, default=12.0, metavar='S', help='longest episode')
    parser.add_argument('--threads', type=int, default=1, help='torch threads')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results here as well')


def run(args: Namespace) -> int:
    """Evaluate every robot and print one line each."""
    from xvla_ros.adapt.optimisation import limit_threads

    limit_threads(args.threads)
    results = evaluate_all(args)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=2) + '\n')
    return 0


def evaluate_all(args: Namespace) -> list[dict]:
    """Run all episodes of all robots."""
    from xvla_ros.adapt.closed_loop import Conditions
    from xvla_ros.core.resources import shared_file
    from xvla_ros.model.loading import load_policy
    from xvla_ros.tools.adapt import robots

    folder = args.checkpoint
    policy = load_policy(folder if folder.is_dir() else shared_file('resource', folder))
    conditions = Conditions(
        limit_s=args.limit,
        latency_s=args.latency,
        steps=args.steps,
        warm_start_time=args.warm_start,
    )
    named = robots(args.embodiment)
    for robot in named:
        check_row(robot, policy, folder)
    return [evaluate_robot(robot, policy, conditions, args) for robot in named]


def check_row(robot: 'Embodiment', policy: 'Policy', folder: Path) -> None:
    """
    Refuse a robot that the checkpoint was not trained for.

    :raises ConfigError: its domain is none of the checkpoint's, or certainly untrained.
    """
    rows = policy.trained_domains or tuple(range(policy.config.num_domains))
    if robot.policy.domain_id not in rows:
        raise ConfigError(
            f"checkpoint '{folder}' does not know embodiment '{robot.robot}': its "
            f'policy.domain_id is {robot.policy.domain_id}, trained are {list(rows)}; '
            "see docs/add-a-robot.md, 'Teach a policy'"
        )


def evaluate_robot(
    robot: 'Embodiment', policy: 'Policy', conditions: 'Conditions', args: Namespace
) -> dict:
    """Run one robot's episodes and print what came out."""
    from tqdm import tqdm

    from xvla_ros.adapt.closed_loop import evaluate
    from xvla_ros.sim import scenes

    purpose = getattr(scenes, SCENES[args.scenes])
    episodes = tqdm(range(args.episodes), robot.robot, unit='episode')
    outcomes = evaluate(robot, policy, purpose, args.seed, episodes, conditions)
    result = summary(robot.robot, outcomes)
    print(describe(result))
    return result


def describe(result: dict) -> str:
    """Say in a line what came out."""
    return (
        f'{result["robot"]}: {result["reached"]} of {result["episodes"]} reached, '
        f'{result["wrong"]} went to a wrong block, {result["time_s"]:.1f} s when reached, '
        f'{result["distance_mm"]:.0f} mm off at the end, '
        f'idle arm moved {result["idle_mm"]:.0f} mm at most'
    )


def summary(robot: str, outcomes: list['Outcome']) -> dict:
    """Count outcomes."""
    reached = [outcome for outcome in outcomes if outcome.reached]
    return {
        'robot': robot,
        'episodes': len(outcomes),
        'reached': len(reached),
        'wrong': sum(bool(outcome.wrong) for outcome in outcomes),
        'missed_episodes': [o.scene.episode for o in outcomes if not o.reached],
        'time_s': sum(o.time_s for o in reached) / max(1, len(reached)),
        'distance_mm': 1e3 * sum(o.distance_m for o in outcomes) / len(outcomes),
        'idle_mm': 1e3 * max(o.idle_m for o in outcomes),
    }
