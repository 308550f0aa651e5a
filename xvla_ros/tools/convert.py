# SPDX-License-Identifier: Apache-2.0
"""xvla convert: rewrites a checkpoint in another layout, and can merge a LoRA adapter."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
import sys

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import XvlaError

LAYOUTS = ('2toinf', 'lerobot', 'native')
DTYPES = ('float32', 'bfloat16', 'float16')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        'source', type=Path, help='checkpoint directory, any layout, or demo_policy'
    )
    parser.add_argument('target', type=Path, help='directory to write, new or empty')
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        required=True,
        help="2toinf: the authors'; lerobot: up to 0.4 (lerobot/xvla-*); native: newer lerobot",
    )
    parser.add_argument('--dtype', choices=DTYPES, help='cast the weights (default: keep)')
    parser.add_argument('--adapter', type=Path, help='LoRA adapter directory to merge')


def run(args: Namespace) -> int:
    """Convert, and print the result."""
    import torch

    from xvla_ros.model.conversion import convert

    dtype = None if args.dtype is None else getattr(torch, args.dtype)
    try:
        convert(checkpoint_folder(args.source), args.target, args.layout, dtype, args.adapter)
    except XvlaError as error:
        print(f'xvla convert: {error}', file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in args.target.iterdir()) / 1e6
    print(f'{args.target}: layout {args.layout}, {size:.1f} MB')
    return 0
