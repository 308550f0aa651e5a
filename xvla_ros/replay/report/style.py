# SPDX-License-Identifier: Apache-2.0
"""Shared style of a report's plots: colours, legends, and marks along the time axis."""

from typing import Any

import matplotlib as mpl

mpl.use('Agg')
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from xvla_ros.replay.report.data import ReportData

INK, PLAN, TARGET, WARN, BAD = '#1b4965', '#b8c4cc', '#e07a1f', '#e0a800', '#c1121f'
BAD_PLAN, TASK = '#e9a0a5', '#555555'
# More plans than this only make a plot grey.
MOST_PLANS = 150


def marks(data: ReportData) -> tuple[list[float], list[float]]:
    """
    Return the times at which chunks joined the plan, and at which chunks were rejected [s].

    For a replay these are the times of the observations, because those of the answers are unknown.
    """
    known = [plan.joint_s is not None for plan in data.plans]
    times = [
        plan.joint_s if any(known) and plan.joint_s is not None else plan.start_s
        for plan in data.plans
    ]
    rejected = [plan.verdict == 'rejected' for plan in data.plans]
    joined = [t for t, no in zip(times, rejected, strict=True) if not no]
    return joined, [t for t, no in zip(times, rejected, strict=True) if no]


def dress(axes: Axes, data: ReportData, label: str) -> None:
    """Mark the times at which chunks join or are rejected and tasks begin."""
    joined, rejected = marks(data)
    transform = axes.get_xaxis_transform()
    faint = 0.9 if len(data.plans) < MOST_PLANS else 0.35
    axes.vlines(joined, 0.95, 1.0, color=INK, lw=0.5, alpha=faint, transform=transform)
    axes.vlines(rejected, 0.93, 1.0, color=BAD, lw=1.2, transform=transform)
    for time_s, text in data.tasks:
        if text:
            axes.axvline(time_s, color=TASK, lw=0.7, ls=':')
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_xlim(0, data.duration_s)
    axes.grid(alpha=0.25)


def legend(axes: Axes, data: ReportData, plans: bool = True, **place: Any) -> None:
    """Explain every colour of a plot: its labelled lines, plans, and the marks of `dress`."""
    handles, _ = axes.get_legend_handles_labels()
    drawn = {plan.verdict == 'rejected' for plan in data.plans}
    extra = [
        (plans and False in drawn, PLAN, '-', 'plan of a chunk'),
        (plans and True in drawn, BAD_PLAN, '-', 'plan of a rejected chunk'),
        (False in drawn, INK, '|', 'chunk joins (tick on top)'),
        (True in drawn, BAD, '|', 'chunk rejected (tick on top)'),
        (any(text for _, text in data.tasks), TASK, ':', 'task begins'),
    ]
    handles += [
        Line2D([], [], color=colour, label=text, lw=1,
               ls='none' if style == '|' else style, marker='|' if style == '|' else '')
        for wanted, colour, style, text in extra
        if wanted
    ]  # fmt: skip
    axes.legend(handles=handles, fontsize=8, **place)
