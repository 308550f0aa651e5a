# SPDX-License-Identifier: Apache-2.0
"""
Find out why something does not work, and say what to do.

Looks at the machine; with --embodiment also at that file, its robot description, simulation and
checkpoint; with --live at the running system: topics, types, QoS, rates, stamps, frames and
encodings against the file. Exit code 0: nothing stands in the way; 1: something does.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
import os

from xvla_ros.bringup import embodiment_file, transport_environment
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.doctor_machine import Finding, machine_findings, OK, PROBLEM, WARNING

SIGNS = {OK: 'ok     ', WARNING: 'WARNING', PROBLEM: 'PROBLEM'}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--embodiment', help='robot, or a parameter file')
    parser.add_argument('--checkpoint', help='another checkpoint than the embodiment names')
    parser.add_argument('--no-model', action='store_true', help='do not load the checkpoint')
    parser.add_argument('--live', action='store_true', help='look at the running system')
    parser.add_argument('--seconds', type=float, default=5.0, help='how long to listen [s]')


def run(args: Namespace) -> int:
    """Print every finding as it is made; 1 when there is a problem."""
    if args.live and not args.embodiment:
        raise ConfigError('--live needs --embodiment: what the system is compared with')
    problems = warnings = 0
    for finding in _findings(args):
        problems += finding.level == PROBLEM
        warnings += finding.level == WARNING
        print(f'{SIGNS[finding.level]}  {finding.name}: {finding.found}', flush=True)
        if finding.fix:
            print(f'         -> {finding.fix}', flush=True)
    print(f'problems: {problems}, warnings: {warnings}')
    return 1 if problems else 0


def _findings(args: Namespace) -> Iterator[Finding]:
    embodiment = None
    if args.embodiment:
        overrides = {'policy.checkpoint': args.checkpoint} if args.checkpoint else {}
        path = embodiment_file(args.embodiment, sim=False)
        embodiment = load_embodiment(path, overrides)
        yield Finding(level=OK, name='embodiment', found=f'{embodiment.robot} ({path})')
        yield from _robot(embodiment)
    yield from machine_findings(embodiment)
    if embodiment and not args.no_model:
        from xvla_ros.tools.doctor_checkpoint import checkpoint_findings

        yield from checkpoint_findings(embodiment)
    if embodiment and args.live:
        yield from _live(embodiment, args.seconds)


def _robot(embodiment: Embodiment) -> Iterator[Finding]:
    """Look at the robot, as far as the packages for it are there: what they are comes after."""
    try:
        from xvla_ros.tools.doctor_robot import robot_findings

        yield from robot_findings(embodiment)
    except ImportError as error:
        yield Finding(level=PROBLEM, name='robot', found=str(error))


def _live(embodiment: Embodiment, seconds: float) -> Iterator[Finding]:
    os.environ.update(transport_environment())
    from xvla_ros.nodes.doctor_live import live_findings

    for found in live_findings(embodiment, seconds):
        level = PROBLEM if found.fix else OK
        yield Finding(level=level, name=found.name, found=found.found, fix=found.fix)
