# SPDX-License-Identifier: Apache-2.0
"""Train the demo policy on the simulated robots: to reach, then to lift (docs/training.md)."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.adapt import lift, robot
from xvla_ros.tools.arguments import count, natural

if TYPE_CHECKING:  # these import torch and mujoco, which --help does not need
    from argparse import _ArgumentGroup

    from xvla_ros.adapt.demo.demo_policy import Job
    from xvla_ros.core.embodiment import Embodiment

OUT = Path('out/demo_policy')
SAMPLES = Path('/dev/shm/xvla_demo_samples')
# Arguments of an adaptation that also apply to the demo policy.
SHARED = {'checkpoint', 'tensorboard', 'device'}


def add_arguments(group: '_ArgumentGroup') -> None:
    """Declare the arguments of the demo policy."""
    group.add_argument(
        '--demo', action='store_true', help='record the scripted expert and train the demo policy'
    )
    group.add_argument(
        '--samples', type=Path, default=SAMPLES, help='folder of recordings; reused when complete'
    )
    group.add_argument(
        '--scenes', type=count, default=1200, help='scenes recorded per robot for reaching'
    )
    group.add_argument(
        '--lift',
        type=natural,
        default=600,
        metavar='N',
        help='demonstrations of grasping and lifting recorded per robot; 0: teach only to reach',
    )
    group.add_argument('--tower-steps', type=natural, default=300)
    group.add_argument('--grounding-steps', type=natural, default=600)
    group.add_argument('--policy-steps', type=natural, default=3000)
    group.add_argument('--lift-steps', type=natural, default=6000)


def run(args: Namespace) -> int:
    """Teach a new policy to reach, unless --checkpoint names one, then to lift."""
    if others := foreign(args):
        raise ConfigError(
            f'xvla adapt --demo: {", ".join(others)} does not apply, expected the options of the '
            'demo policy (xvla adapt --help)'
        )
    named, out = trainable(robots(args.embodiment)), args.out or OUT
    start = args.checkpoint
    if start is None:
        start = out.with_name(f'{out.name}-reach') if args.lift else out
        if not (args.resume and args.lift and (start / 'config.json').exists()):
            reach(args, named, start)
    if args.lift:
        lift.run(args, named, start, out)
    chosen = ''.join(f' --embodiment {name}' for name in args.embodiment or ())
    lifts = ' --lift' if args.lift else ''
    print(f'measure it: xvla evaluate{lifts} --checkpoint {out}{chosen}')
    return 0


def foreign(args: Namespace) -> list[str]:
    """Return the options that were given and do not apply to the demo policy."""
    parser = ArgumentParser()
    robot.add_arguments(parser)
    defaults = vars(parser.parse_args([]))
    return [
        '--' + name.replace('_', '-')
        for name, value in defaults.items()
        if name not in SHARED and getattr(args, name) != value
    ]


def reach(args: Namespace, named: list['Embodiment'], out: Path) -> None:
    """Record the expert, train a new policy to reach the named block, and write it."""
    from xvla_ros.adapt.demo.demo_policy import DemoTraining, record_all

    job = demo_job(args, out)
    print(f'training in {str(job.dtype).removeprefix("torch.")}{reason(args.dtype)}')
    DemoTraining(record_all(named, job), job).run(args.resume)
    print(f'checkpoint: {out}')


def reason(dtype: str) -> str:
    """Return the measured times if they decided the dtype."""
    from xvla_ros.adapt.trainer.arithmetic import step_times
    from xvla_ros.model.measured import listed

    return f': per sample {listed(step_times())} on this processor' if dtype == 'auto' else ''


def demo_job(args: Namespace, out: Path) -> 'Job':
    """Collect the arguments of reaching."""
    from xvla_ros.adapt.demo.demo_policy import Job
    from xvla_ros.adapt.demo.objectives import Recipe
    from xvla_ros.adapt.trainer.arithmetic import training_dtype

    recipe = Recipe(
        tower_steps=args.tower_steps,
        grounding_steps=args.grounding_steps,
        policy_steps=args.policy_steps,
        seed=args.seed,
    )
    return Job(
        samples=args.samples,
        checkpoint=out,
        recipe=recipe,
        scenes=args.scenes,
        dtype=training_dtype(args.dtype),
    )


def robots(names: list[str] | None) -> list['Embodiment']:
    """
    Read the named embodiments, or all simulated ones with the demo policy, by domain.

    :raises ConfigError: an embodiment is unknown, or has no simulation.
    """
    from xvla_ros.adapt.demo.demo_policy import demo_embodiments
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
    Return the embodiments unchanged.

    :raises ConfigError: one is in joint space, or the demo policy has no row for its domain.
    """
    from xvla_ros.adapt.demo.small_network import NUM_DOMAINS

    for embodiment in embodiments:
        if embodiment.joint_space:
            raise ConfigError(
                f"embodiment '{embodiment.robot}': policy.action_mode is "
                f"'{embodiment.policy.action_mode}', expected 'ee6d': the demo policy predicts "
                'tool poses'
            )
        if embodiment.policy.domain_id >= NUM_DOMAINS:
            raise ConfigError(
                f"embodiment '{embodiment.robot}': policy.domain_id is "
                f'{embodiment.policy.domain_id}, the demo policy has rows 0 to {NUM_DOMAINS - 1}; '
                '3 is free: set it in a copy of the file, and use the copy'
            )
    return embodiments
