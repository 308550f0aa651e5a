# SPDX-License-Identifier: Apache-2.0
"""Train a policy: the demo's, from nothing, on the simulated robots (docs/training.md)."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count

if TYPE_CHECKING:  # these import torch and mujoco, which --help can do without
    from xvla_ros.adapt.demo_policy import Job
    from xvla_ros.core.embodiment import Embodiment

SAMPLES = Path('/dev/shm/xvla_demo_samples')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--demo', action='store_true', help='record the scripted expert and train the demo policy'
    )
    parser.add_argument(
        '--embodiment',
        action='append',
        help='simulated robot, or a parameter file; may be repeated (default: all that the demo '
        'policy drives)',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('out/demo_policy'), help='checkpoint folder'
    )
    parser.add_argument(
        '--samples', type=Path, default=SAMPLES, help='folder of recordings; reused when complete'
    )
    parser.add_argument('--scenes', type=count, default=1200, help='scenes recorded per robot')
    parser.add_argument('--tower-steps', type=int, default=300)
    parser.add_argument('--grounding-steps', type=int, default=600)
    parser.add_argument('--policy-steps', type=int, default=3000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1, help='torch threads')


def run(args: Namespace) -> int:
    """Record, train, write."""
    if not args.demo:
        raise ConfigError('xvla adapt: nothing to do; --demo trains the demo policy')
    from xvla_ros.adapt.demo_policy import DemoTraining, record_all
    from xvla_ros.adapt.optimisation import limit_threads

    limit_threads(args.threads)
    job = demo_job(args)
    DemoTraining(record_all(trainable(robots(args.embodiment)), job), job).run()
    named = ''.join(f' --embodiment {name}' for name in args.embodiment or ())
    print(f'checkpoint: {args.out}; measure it: xvla evaluate --checkpoint {args.out}{named}')
    return 0


def demo_job(args: Namespace) -> 'Job':
    """Collect the arguments."""
    from xvla_ros.adapt.demo_policy import Job
    from xvla_ros.adapt.training import Recipe

    recipe = Recipe(
        tower_steps=args.tower_steps,
        grounding_steps=args.grounding_steps,
        policy_steps=args.policy_steps,
        seed=args.seed,
    )
    return Job(samples=args.samples, checkpoint=args.out, recipe=recipe, scenes=args.scenes)


def robots(names: list[str] | None) -> list['Embodiment']:
    """
    Read the named embodiments, or all simulated ones that run the demo policy, by domain.

    :raises ConfigError: one is not known, or has no simulation.
    """
    from xvla_ros.adapt.demo_policy import demo_embodiments
    from xvla_ros.core.embodiment import load_embodiment

    if not names:
        return demo_embodiments()
    files = [embodiment_file(name, sim=True) for name in names]
    named = [load_embodiment(file) for file in files]
    for file, embodiment in zip(files, named, strict=True):
        if embodiment.sim is None:
            raise ConfigError(f"{file}: has no 'sim' block, so it cannot be simulated")
    return named


def trainable(embodiments: list['Embodiment']) -> list['Embodiment']:
    """
    Return the embodiments as they are.

    :raises ConfigError: one has a domain that the demo policy has no row for.
    """
    from xvla_ros.adapt.small_network import NUM_DOMAINS

    for embodiment in embodiments:
        if embodiment.policy.domain_id >= NUM_DOMAINS:
            raise ConfigError(
                f"embodiment '{embodiment.robot}': policy.domain_id is "
                f'{embodiment.policy.domain_id}, the demo policy has rows 0 to {NUM_DOMAINS - 1}; '
                '3 is free: set it in a copy of the file, and give that'
            )
    return embodiments
