# SPDX-License-Identifier: Apache-2.0
"""Teach a policy for the simulated robots to grasp and lift, by demonstrations in bags."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.core.embodiment import load_embodiment

if TYPE_CHECKING:  # these import torch and mujoco, which --help does not need
    from xvla_ros.adapt.options import Options
    from xvla_ros.core.embodiment import Embodiment


def run(args: Namespace, named: 'Sequence[Embodiment]', start: Path, out: Path) -> None:
    """
    Record demonstrations of the named robots, read the bags, train all rows at once.

    :param start: checkpoint to begin with. out: folder of the result.
    """
    from tqdm import tqdm

    from xvla_ros.adapt.lift.recording import Demonstrations
    from xvla_ros.adapt.lift.training import LiftTraining, Robot
    from xvla_ros.adapt.trainer.progress import training_folder
    from xvla_ros.adapt.trainer.saving import STATE
    from xvla_ros.bringup import embodiment_file

    kept = Demonstrations(folder=args.samples / 'lift', count=args.lift, seed=args.seed)
    files = [embodiment_file(name, sim=True) for name in args.embodiment or map(robot_name, named)]
    for file in files:  # all are recorded before any is read
        kept.bag(file)
    taught = [Robot(embodiment=load_embodiment(f), episodes=kept.episodes(f)) for f in files]
    training = LiftTraining(taught, options(args, taught[0].embodiment, start, out))
    counts = ', '.join(f'{len(data)} of {name}' for name, data in training.data.items())
    print(f'samples: {counts}')
    # A run that goes on may have stopped while it learned to reach; then lifting begins now.
    begun = args.checkpoint is not None or (training_folder(out) / STATE).exists()
    metrics = training.run(tqdm.write, args.resume and begun)
    print(f'checkpoint of step {metrics.get("steps")}: {out}')


def robot_name(embodiment: 'Embodiment') -> str:
    """Return the name of an embodiment's robot."""
    return embodiment.robot


def options(args: Namespace, embodiment: 'Embodiment', start: Path, out: Path) -> 'Options':
    """Return the fixed recipe; its values come from trials (docs/training.md)."""
    from xvla_ros.adapt.options import Options
    from xvla_ros.adapt.trainer.arithmetic import training_dtype
    from xvla_ros.adapt.trainer.stages import two_steps

    plan = two_steps(
        frozen_steps=min(50, args.lift_steps), steps=args.lift_steps, rate=1e-3, scale=1.0,
        warmup=100, falling=0.4,
    )  # fmt: skip
    return Options(
        checkpoint=start, out=out, plan=plan, row=embodiment.policy.domain_id, batch=33,
        seed=args.seed, check=250, denoising=embodiment.policy.denoising_steps,
        dtype=training_dtype(args.dtype, args.device), device=args.device,
        tensorboard=args.tensorboard, mean=0.998,
    )  # fmt: skip
