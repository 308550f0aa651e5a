# SPDX-License-Identifier: Apache-2.0
"""Figures of a training run and of an open loop."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xvla_ros.adapt.joints.errors import LABELS as JOINTS
from xvla_ros.adapt.validation import LABELS as POSES

# Errors of either space; a log or a summary has those of one.
ERRORS = {**POSES, **JOINTS}


def new_figure(height: float) -> Figure:
    """Return an empty figure, without a display."""
    figure = Figure(figsize=(10, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def curves(file: Path, log: Sequence[dict[str, Any]], title: str) -> None:
    """Draw losses and held-out errors over the steps, from the lines of a log."""
    figure = new_figure(6)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [line for line in log if 'loss' in line]
    for name in sorted({key for line in steps for key in line if key.startswith('loss/')}):
        line_of(above, [line for line in steps if name in line], name, name.removeprefix('loss/'))
    for one, two in pairwise(steps):
        if one['stage'] != two['stage']:
            above.axvline(one['step'], color='grey', ls=':')
    above.set(yscale='log', ylabel='loss, weighted', title=title)
    for name, label in ERRORS.items():
        if found := [line for line in log if name in line]:
            line_of(below, found, name, label, '.-')
    below.set(xlabel='steps', ylabel='on held-out episodes', yscale='symlog')
    above.legend()
    below.legend()
    figure.savefig(file, dpi=100)


def line_of(
    axes: Axes, log: Sequence[dict[str, Any]], name: str, label: str, style: str = '-'
) -> None:
    """Draw one value of a log over its steps."""
    axes.plot([x['step'] for x in log], [x[name] for x in log], style, label=label, lw=1)


def anchor_plot(file: Path, summary: dict[str, Any], title: str) -> None:
    """Draw the errors of an open loop by anchor."""
    figure = new_figure(7)
    shown = {name: label for name, label in ERRORS.items() if name in summary['anchors']}
    rows = figure.subplots(len(shown), 1, sharex=True)
    for axes, (name, label) in zip(rows, shown.items(), strict=True):
        values = summary['anchors'][name]
        axes.plot(range(1, len(values) + 1), values, '.-')
        axes.set(ylabel=label, ylim=(0, None))
    rows[0].set(title=title)
    rows[-1].set(xlabel='anchor')
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
