# SPDX-License-Identifier: Apache-2.0
"""
Train a checkpoint for a robot with demonstrations, in two steps (docs/teach.md).

The first step trains the robot's own prompts, encoder and decoder, the second everything at a low
rate. The robot's row starts as a copy of the row that fits the data best; all other rows stay
unchanged to the bit.

    xvla adapt --source recordings/ --checkpoint /data/X-VLA-Pt --row 20 --out out/mine
    xvla adapt --simulated 30 --checkpoint demo_policy --embodiment ur5e --row 3 --out out/ur5e
    xvla adapt --simulated 30 --checkpoint demo_policy --embodiment ur5e --rows  # compare rows
    xvla adapt --demo                                                            # the demo policy
    xvla adapt --demo --checkpoint demo_policy --out out/longer                  # lift for longer

docs/data.md describes --source. The robot of a bag is the recorded one unless you name another.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.adapt import demo, robot
from xvla_ros.tools.arguments import count
from xvla_ros.tools.sources import named_data


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--embodiment',
        action='append',
        help='robot, or its parameter file; with --demo it may be repeated (default: all that the '
        'demo policy drives)',
    )
    parser.add_argument(
        '--out', type=Path, help='checkpoint folder (default: out/adapted or out/demo_policy)'
    )
    parser.add_argument('--resume', action='store_true', help='continue a stopped run into --out')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--dtype',
        choices=('auto', 'float32', 'bfloat16'),
        default='auto',
        help='of matrix products; weights stay float32; auto: the faster one here (default)',
    )
    parser.add_argument('--threads', type=count, default=1, help='torch threads')
    robot.add_arguments(parser.add_argument_group('a robot from demonstrations'))
    demo.add_arguments(parser.add_argument_group('the demo policy'))


def run(args: Namespace) -> int:
    """Train the requested policy."""
    if args.demo == named_data(args):
        raise ConfigError(
            'xvla adapt: expected either --demo, or demonstrations (--source DATA or --simulated '
            'N) with --checkpoint and --embodiment'
        )
    from xvla_ros.adapt.trainer.optimisation import limit_threads

    limit_threads(args.threads)
    return demo.run(args) if args.demo else robot.run(args)
