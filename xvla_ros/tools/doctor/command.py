# SPDX-License-Identifier: Apache-2.0
"""
Find out why something does not work, and print what to do.

Checks the machine, and measures which kernels are fastest on it. With --embodiment it also checks
that file, its robot description, simulation and checkpoint; with --live also topics, types, QoS,
rates, stamps, frames and encodings of the running system.

With a BAG it checks the bag instead: its topics, rates and stamps, and whether the recorded motion
fits workspace, speeds, joint limits and gripper. --suggest prints values that would fit, as YAML.

Exit code 0: no problem; 1: a problem.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
import os
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.bringup import embodiment_file, transport_environment
from xvla_ros.core.checkpoints import checkpoint_overrides
from xvla_ros.core.embodiment import Embodiment, load_embodiment, uses_sim_time
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.core.parameter_file import POLICY_NODE, read_parameter_file
from xvla_ros.tools.doctor.machine import machine_findings
from xvla_ros.tools.needs import need_ros
from xvla_ros.tools.printing import print_finding
from xvla_ros.tools.replay import override

if TYPE_CHECKING:
    from xvla_ros.tools.doctor.bag_motion import MotionCheck


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('bag', nargs='?', type=Path, help='rosbag2 folder or file to check')
    parser.add_argument('--embodiment', help='robot, or a parameter file')
    parser.add_argument('--checkpoint', help="instead of the embodiment's")
    parser.add_argument(
        '--no-model', action='store_true', help='neither load the checkpoint nor time kernels'
    )
    parser.add_argument('--live', action='store_true', help='check the running system')
    parser.add_argument('--suggest', action='store_true', help='propose values that fit the BAG')
    parser.add_argument(
        '--set', type=override, action='append', default=[], metavar='NAME=VALUE',
        help='replace a parameter of the embodiment',
    )  # fmt: skip
    parser.add_argument('--seconds', type=float, default=5.0, help='how long to listen [s]')


def run(args: Namespace) -> int:
    """Print every finding at once; return 1 if there is a problem."""
    if args.live and not args.embodiment:
        raise ConfigError('--live needs --embodiment, to compare the system with it')
    if args.live:
        need_ros('xvla doctor --live')
    if args.suggest and args.bag is None:
        raise ConfigError('--suggest needs a BAG, from which it takes the values')
    check: list[MotionCheck] = []
    problems = warnings = 0
    for finding in _of_bag(args, check) if args.bag else _findings(args):
        problems += finding.level == PROBLEM
        warnings += finding.level == WARNING
        print_finding(finding)
    print(f'problems: {problems}, warnings: {warnings}')
    if args.suggest:
        proposed = check[0].suggestion() if check else ''
        print(f'\n{proposed or "# The file fits the bag: nothing to change."}')
    return 1 if problems else 0


def _of_bag(args: Namespace, check: list['MotionCheck']) -> Iterator[Finding]:
    """Yield the findings for a bag; adds the check of its motion to `check`, for proposals."""
    from xvla_ros.tools.doctor.whole_bag import whole_bag_findings

    embodiment, overrides = None, dict(args.set)
    if args.embodiment:
        path = embodiment_file(args.embodiment, sim=False)
        embodiment = load_embodiment(path, overrides)
    yield from whole_bag_findings(args.bag, embodiment, overrides, check)


def _findings(args: Namespace) -> Iterator[Finding]:
    from xvla_ros.tools.doctor.whole_bag import robot_of_file

    embodiment = None
    if args.embodiment:
        overrides = {**dict(args.set), **checkpoint_overrides(args.checkpoint)}
        path = embodiment_file(args.embodiment, sim=False)
        embodiment = load_embodiment(path, overrides)
        yield Finding(level=OK, name='embodiment', found=f'{embodiment.robot} ({path})')
        yield from _sections(path, embodiment)
        yield from robot_of_file(embodiment)
    yield from machine_findings(embodiment)
    if not args.no_model:
        from xvla_ros.tools.doctor.processor import processor_findings

        yield from processor_findings(embodiment)
    if embodiment and not args.no_model:
        from xvla_ros.tools.doctor.checkpoint import checkpoint_findings

        yield from checkpoint_findings(embodiment)
    if embodiment and args.live:
        yield from _live(embodiment, args.seconds, uses_sim_time(path))


def _sections(path: Path, embodiment: Embodiment) -> Iterator[Finding]:
    """Check that every node gets the same parameters, if a file has sections for nodes."""
    nodes = ('controller_node', *(('sim_node',) if embodiment.sim else ()))
    apart = [node for node in nodes if _given(path, node) != _given(path, POLICY_NODE)]
    if apart:
        found = f'{", ".join(apart)}: other parameters than {POLICY_NODE}'
        fix = f'move the parameters of all nodes below /** in {path}'
        yield Finding(level=PROBLEM, name='sections', found=found, fix=fix)


def _given(path: Path, node: str) -> dict[str, object]:
    """Return the parameters that a file gives to a node; none without a section for it."""
    try:
        return read_parameter_file(path, node)
    except ConfigError:
        return {}


def _live(embodiment: Embodiment, seconds: float, sim_time: bool) -> Iterator[Finding]:
    os.environ.update(transport_environment())
    from xvla_ros.tools.doctor.live import live_findings

    for found in live_findings(embodiment, seconds, sim_time):
        level = PROBLEM if found.fix else OK
        yield Finding(level=level, name=found.name, found=found.found, fix=found.fix)
