# SPDX-License-Identifier: Apache-2.0
"""The figure: validation error and success against steps, and a map of the prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
import numpy as np
from numpy.typing import NDArray

COLOURS = {
    'random': 'tab:orange',
    'nearest': 'tab:blue',
    'two-step': 'tab:green',
    'scratch': 'tab:grey',
}
# Lines that lie on each other are told apart by their dashes.
DASHES = {'random': '-', 'nearest': '--', 'two-step': ':', 'scratch': '-'}
LABELS = {
    'random': 'random prompt, frozen',
    'nearest': 'nearest prompt, frozen',
    'two-step': 'two-step',
    'scratch': 'from scratch',
}


def draw(file: Path, result: Mapping[str, Any]) -> None:
    """Draw the result of an experiment."""
    figure = Figure(figsize=(12, 4), layout='constrained')
    FigureCanvasAgg(figure)
    errors, success, places = figure.subplots(1, 3)
    first = result['size']['first']
    for way, looks in result['ways'].items():
        steps = [look['step'] for look in looks]
        style = {'color': COLOURS[way], 'label': LABELS[way], 'ls': DASHES[way], 'marker': '.'}
        errors.plot(steps, [look['error_mm'] for look in looks], **style)
        shares = np.array([look['reached'] / look['trials'] for look in looks])
        success.plot(steps, shares, **style)
        low, high = np.array([look['interval'] for look in looks]).T
        success.fill_between(steps, low, high, color=COLOURS[way], alpha=0.12, lw=0)
    for axes in (errors, success):
        axes.axvline(first, color='tab:green', ls=':', lw=1)
        axes.set(xlabel='steps')
    errors.set(
        yscale='log', ylabel='held-out error [mm]', title=f'Adaptation to {result["robot"]}'
    )
    success.set(ylim=(-0.02, 1.02), ylabel='reached (95 % interval)', title='Closed loop')
    errors.yaxis.set_major_formatter(ScalarFormatter())
    errors.yaxis.set_minor_formatter(ScalarFormatter())
    errors.tick_params(axis='y', which='both', labelsize=8)
    errors.legend(fontsize=8)
    prompt_map(places, result)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)


def prompt_map(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw all prompts in the plane in which they differ most."""
    known = {name: np.array(row) for name, row in result['prompts'].items()}
    paths = {
        way: np.array([look['prompts'] for look in looks])
        for way, looks in result['ways'].items()
        if way != 'scratch'
    }
    project = projection([*known.values(), *(row for path in paths.values() for row in path)])
    for name, row in known.items():
        x, y = project(row)
        axes.plot(x, y, 's', color='black', ms=5)
        axes.annotate(name, (x, y), xytext=(5, 5), textcoords='offset points', fontsize=8)
    for way, path in paths.items():
        flat = np.array([project(row) for row in path])
        axes.plot(*flat.T, '.-', color=COLOURS[way], lw=1, ms=4)
        axes.plot(*flat[-1], 'o', color=COLOURS[way], ms=6, label=LABELS[way])
    axes.margins(0.15)
    axes.locator_params(nbins=5)
    axes.set(xlabel='first component', ylabel='second component', title='Map of the prompts')
    axes.legend(fontsize=8)


def projection(rows: Sequence[NDArray[np.float64]]) -> Any:
    """Return what projects a row to the two principal components of all rows."""
    every = np.stack(rows)
    middle = every.mean(axis=0)
    _, _, axes = np.linalg.svd(every - middle, full_matrices=False)
    return lambda row: axes[:2] @ (row - middle)
