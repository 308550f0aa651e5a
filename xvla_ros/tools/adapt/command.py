# SPDX-License-Identifier: Apache-2.0
"""
Teach a checkpoint a robot from demonstrations, in two steps (docs/teach.md).

First the robot's own prompts, encoder and decoder are trained, then everything, slowly. The row is
copied from the one that fits the data best; all other rows stay as they are, bit for bit.

    xvla adapt --source recordings/ --checkpoint /data/X-VLA-Pt --row 20 --out out/mine
    xvla adapt --simulated 30 --checkpoint demo_policy --embodiment ur5e --row 3 --out out/ur5e
    xvla adapt --simulated 30 --checkpoint demo_policy --embodiment ur5e --rows  # compare rows
    xvla adapt --demo                                                            # the demo policy

docs/data.md says what --source takes. The robot of a bag is the recorded one unless one is named.
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
    parser.add_argument(
        '--resume', action='store_true', help='go on where a run into --out stopped'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--dtype',
        choices=('auto', 'float32', 'bfloat16'),
        default='auto',
        help='of matrix products; weights are float32 always; auto: the faster one here (default)',
    )
    parser.add_argument('--threads', type=count, default=1, help='torch threads')
    robot.add_arguments(parser.add_argument_group('a robot from demonstrations'))
    demo.add_arguments(parser.add_argument_group('the demo policy'))


def run(args: Namespace) -> int:
    """Train what was asked for."""
    if args.demo == named_data(args):
        raise ConfigError(
            'xvla adapt: expected either --demo, or demonstrations (--source DATA or --simulated '
            'N) with --checkpoint and --embodiment'
        )
    from xvla_ros.adapt.trainer.optimisation import limit_threads

    limit_threads(args.threads)
    return demo.run(args) if args.demo else robot.run(args)
