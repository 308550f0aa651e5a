# SPDX-License-Identifier: Apache-2.0
"""
Measure a policy.

The policy drives simulated robots, without ROS, in scenes that were not in the training data. With
--ros it drives them over ROS, and lifted blocks are counted in out/evaluate/ROBOT.json. With
--source DATA or --simulated N its predictions are compared with demonstrations (open loop).

    xvla evaluate --checkpoint out/my_policy --embodiment franka --episodes 50
    xvla evaluate --ros --episodes 50 --seed 1 --embodiment agilex --task bimanual
    xvla evaluate --simulated 10 --checkpoint out/my_policy --embodiment franka --seed 5
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count
from xvla_ros.tools.evaluate import closed_loop, open_loop, over_ros
from xvla_ros.tools.sources import named_data

CHECKPOINT = 'demo_policy'


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--checkpoint', type=Path, default=Path(CHECKPOINT), help='checkpoint folder'
    )
    parser.add_argument(
        '--embodiment',
        action='append',
        help='robot, or a parameter file; may be repeated for simulated robots (default: all '
        'robots of the demo policy)',
    )
    parser.add_argument(
        '--row', type=int, help="row to use (default: the embodiment's policy.domain_id)"
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the scenes')
    parser.add_argument('--steps', type=count, default=4, help='denoising steps')
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'torch', 'onnxruntime', 'openvino'),
        help='library that runs the network (default: torch, or the fastest for exported graphs)',
    )
    parser.add_argument('--dtype', default='float32', help='number format of matrix products')
    parser.add_argument('--threads', type=count, default=1, help='threads of torch')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the results here')
    open_loop.add_arguments(parser.add_argument_group('open loop'))
    closed_loop.add_arguments(parser.add_argument_group('closed loop'))
    over_ros.add_arguments(parser.add_argument_group('closed loop over ROS'))


def kind_of(args: Namespace) -> Callable[[Namespace], Any]:
    """
    Return what measures as the arguments ask.

    :raises ConfigError: --ros and data are named.
    """
    if not args.ros:
        return open_loop.evaluate if named_data(args) else closed_loop.evaluate_all
    if named_data(args):
        raise ConfigError('xvla evaluate: --ros drives a robot, --source and --simulated do not')
    return over_ros.evaluate


def run(args: Namespace) -> int:
    """Evaluate, print the results, and write them if requested."""
    from xvla_ros.adapt.trainer.optimisation import limit_threads

    limit_threads(args.threads)
    results = kind_of(args)(args)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=2) + '\n')
    return 0
