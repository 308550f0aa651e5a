# SPDX-License-Identifier: Apache-2.0
"""What the pictures of a report have in common: colours, and marks along the time axis."""

import matplotlib as mpl

mpl.use('Agg')
from matplotlib.axes import Axes

from xvla_ros.replay.report_data import ReportData

INK, PLAN, TARGET, WARN, BAD = '#1b4965', '#b8c4cc', '#e07a1f', '#e0a800', '#c1121f'
# More plans than this make a plot grey without saying more.
MOST_PLANS = 150


def dress(axes: Axes, data: ReportData, label: str) -> None:
    """Mark where chunks join and tasks begin."""
    joints = [plan.joint_s for plan in data.plans if plan.joint_s is not None]
    joints = joints or [plan.start_s for plan in data.plans]
    transform = axes.get_xaxis_transform()
    faint = 0.9 if len(joints) < MOST_PLANS else 0.35
    axes.vlines(joints, 0.95, 1.0, color=INK, lw=0.5, alpha=faint, transform=transform)
    for time_s, text in data.tasks:
        if text:
            axes.axvline(time_s, color='#555555', lw=0.7, ls=':')
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_xlim(0, data.duration_s)
    axes.grid(alpha=0.25)
