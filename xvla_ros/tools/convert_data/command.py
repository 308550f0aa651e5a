# SPDX-License-Identifier: Apache-2.0
"""
Convert demonstrations to another format, from a bag or the data of a source file.

    xvla convert-data recordings/ --to lerobot --out out/mine        # bags -> LeRobot v3.0
    xvla convert-data mine.yaml --to xvla-hdf5 --out out/hdf5        # for the authors' train.py
    xvla convert-data data/pick.hdf5 --as robomimic --to lerobot --out out/pick

A source file is written beside the new data. --images png keeps every bit.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.sources import add_description, context_of, named_robot

if TYPE_CHECKING:
    from xvla_ros.data.context import Context
    from xvla_ros.data.episodes import Episode
    from xvla_ros.data.source import Source

WRITERS = {'lerobot': 'lerobot', 'xvla-hdf5': 'xvla_hdf5'}
FORMATS = ('av1', 'h264', 'png')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('data', help='a source file (docs/data.md), a bag, a folder of bags')
    add_description(parser)
    parser.add_argument('--to', choices=tuple(WRITERS), required=True, help='format to write')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--embodiment', help='robot or parameter file (default: the recorded one)')
    parser.add_argument(
        '--images',
        '--pictures',
        choices=FORMATS,
        default='av1',
        help='codec of videos; png keeps every bit. HDF5 holds JPEG, or with png PNG',
    )


def run(args: Namespace) -> int:
    """Read and convert the data."""
    from xvla_ros.data.opening import open_source
    from xvla_ros.data.writers.options import WriteOptions

    if args.out.exists() and any(args.out.iterdir()):
        raise ConfigError(f'{args.out}: is not empty; give another --out')
    source = open_source(args.data, args.description)
    embodiment = named_robot(args.embodiment, source)
    options = WriteOptions(
        images=args.images,
        robot=embodiment.robot if embodiment else '',
        arms=tuple(source.arms) or (embodiment.arm_names if embodiment else ()),
        grippers_begin=source.grippers_begin,
    )
    writer = import_module(f'xvla_ros.data.writers.{WRITERS[args.to]}')
    count = writer.write(args.out, episodes(source, context_of(args, embodiment)), options)
    print(f'{args.out}: {count} episodes; use them: xvla adapt --source {args.out} ...')
    return 0


def episodes(source: 'Source', context: 'Context') -> Iterator['Episode']:
    """
    Yield the episodes of a source, with progress.

    :raises DataError: one is broken.
    """
    from tqdm import tqdm

    from xvla_ros.data.errors import DataError
    from xvla_ros.data.opening import read_all

    for result in tqdm(read_all(source, context), 'convert', unit='episode', disable=None):
        if isinstance(result, DataError):
            raise result
        yield result
