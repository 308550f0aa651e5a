# SPDX-License-Identifier: Apache-2.0
"""Compares a policy's predictions with demonstrations."""

from argparse import Namespace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from xvla_ros.tools.arguments import count
from xvla_ros.tools.sources import add_source_arguments, episodes_of, robot_of

if TYPE_CHECKING:  # these import torch, which --help does not need
    from argparse import _ArgumentGroup


def add_arguments(group: '_ArgumentGroup') -> None:
    """Declare the arguments of an open loop."""
    add_source_arguments(group)
    group.add_argument('--samples', type=count, default=200, help='predictions, evenly spread')
    group.add_argument('--plot', type=Path, metavar='FILE', help='draw errors by anchor (PNG)')


def evaluate(args: Namespace) -> dict[str, Any]:
    """Predict samples of the demonstrations and print the errors, in total and by task."""
    from xvla_ros.adapt.figures import anchor_plot
    from xvla_ros.adapt.judging import judge
    from xvla_ros.model.loading import load_policy
    from xvla_ros.tools.adapt.robot import row_of

    embodiment = robot_of(args, 'xvla evaluate')
    policy = load_policy(args.checkpoint, dtype=args.dtype, backend=args.backend)
    row = row_of(args, embodiment)
    episodes = episodes_of(args, embodiment)
    summary = judge(policy, episodes, embodiment, row, args.samples, args.steps)
    for line in lines(summary):
        print(line)
    if args.plot is not None:
        anchor_plot(args.plot, summary, f'{args.checkpoint}, {embodiment.robot}, row {row}')
    return {'robot': embodiment.robot, 'row': row, **summary}


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the errors of an open loop as lines of a table."""
    main = 'joint_deg' if 'joint_deg' in summary else 'position_mm'
    anchors, unit = summary['anchors'][main], 'deg' if main == 'joint_deg' else 'mm'
    rows = [('all', summary), *summary['tasks'].items()]
    width = max(len(name) for name, _ in rows)
    table = [f'{name:{width}}  {x["samples"]:5} samples  {means(x)}' for name, x in rows]
    ends = f'first anchor {anchors[0]:.1f} {unit}, last {anchors[-1]:.1f} {unit}'
    return [*table, ends]


def means(found: dict[str, Any]) -> str:
    """Return the means of a row, in the units of its space."""
    if 'joint_deg' in found:
        return f'{found["joint_deg"]:6.2f} deg  grippers {found["gripper_percent"]:5.1f} % off'
    return (
        f'{found["position_mm"]:6.1f} mm  {found["rotation_deg"]:5.1f} deg  '
        f'{found["gripper_wrong"]:6.1%} of grippers wrong'
    )
