# SPDX-License-Identifier: Apache-2.0
"""Teach the demo policy to grasp and lift, by demonstrations recorded as bags."""

from argparse import Namespace
from pathlib import Path

from xvla_ros.core.errors import ConfigError

START, OUT = Path('demo_policy'), Path('out/lift_policy')


def run(args: Namespace) -> int:
    """Record, read the bags, train all rows at once, say how good it is."""
    from tqdm import tqdm

    from xvla_ros.adapt.lift.recording import Demonstrations
    from xvla_ros.adapt.lift.training import LiftTraining, Robot
    from xvla_ros.bringup import embodiment_file
    from xvla_ros.core.embodiment import load_embodiment
    from xvla_ros.tools.adapt.demo import robots
    from xvla_ros.tools.adapt.robot import options

    if args.lora or args.lerobot or args.rows:
        raise ConfigError('xvla adapt --demo --lift: --lora, --lerobot and --rows do not apply')
    kept = Demonstrations(folder=args.samples / 'lift', count=args.lift, seed=args.seed)
    names = args.embodiment or [robot.robot for robot in robots(None)]
    files = [embodiment_file(name, sim=True) for name in names]
    for file in files:  # all are recorded before any is read
        kept.bag(file)
    taught = [Robot(embodiment=load_embodiment(f), episodes=kept.episodes(f)) for f in files]
    args.checkpoint, args.out = args.checkpoint or START, args.out or OUT
    training = LiftTraining(taught, options(args, taught[0].embodiment))
    counts = ', '.join(f'{len(data)} of {name}' for name, data in training.data.items())
    print(f'samples: {counts}')
    metrics = training.run(tqdm.write, args.resume)
    print(f'checkpoint of step {metrics.get("steps")}: {args.out}')
    print(f'measure it: xvla evaluate --lift --checkpoint {args.out}')
    return 0
