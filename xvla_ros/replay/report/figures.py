# SPDX-License-Identifier: Apache-2.0
"""The figures of a report, drawn by matplotlib, each as the bytes of a PNG."""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from xvla_ros.replay.report.charts import latency, timeline, verdicts
from xvla_ros.replay.report.data import Plan, ReportData
from xvla_ros.replay.report.style import (
    BAD,
    BAD_PLAN,
    dress,
    INK,
    legend,
    MOST_PLANS,
    PLAN,
    TARGET,
)

DPI = 90
# Minimum range of an axis.
LEAST_SPAN_M, LEAST_SPAN_DEG = 0.02, 1.0
AXES = ('x [m]', 'y [m]', 'z [m]')
TURNS = ('roll [deg]', 'pitch [deg]', 'yaw [deg]')


def figures(data: ReportData) -> list[tuple[str, str, bytes]]:
    """Return title, one sentence of explanation and PNG of every figure that has data."""
    drawings: list[tuple[str, str, Callable[[ReportData], Figure | None]]] = [
        ('Path', 'Planned, commanded and executed tool path in each arm’s base frame.', paths),
        (
            'Channels',
            'Commanded and measured position and orientation. Ticks along the top show where a '
            'chunk joins the plan (blue) or was rejected (red); dotted lines show new tasks.',
            channels,
        ),
        (
            'Gripper',
            'The probability of a closed gripper in each chunk at the time it is due, the two '
            'thresholds, and the measured opening. Between the thresholds the gripper stays.',
            grippers,
        ),
        ('Latency', 'Time from image to plan by stage, for each chunk.', latency),
        (
            'Timeline',
            'State of the policy, plan left in the queue, starved, missed and clamped ticks.',
            timeline,
        ),
        ('Verdicts', 'How the safety gate judged the chunks (top), and its reasons.', verdicts),
    ]
    drawn = ((title, text, draw(data)) for title, text, draw in drawings)
    return [(title, text, _png(figure)) for title, text, figure in drawn if figure is not None]


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DPI, format='png', metadata={'Software': None})
    plt.close(figure)
    return buffer.getvalue()


def plan_colour(plan: Plan) -> str:
    """Return the colour of a chunk's plan."""
    return BAD_PLAN if plan.verdict == 'rejected' else PLAN


def _some(plans: list[Plan]) -> list[Plan]:
    return plans[:: max(1, -(-len(plans) // MOST_PLANS))]


def paths(data: ReportData) -> Figure | None:
    """Draw the paths in space, one plot per arm."""
    times, measured = data.measured
    if not len(times) and not data.plans:
        return None
    names = data.embodiment.arm_names
    figure = plt.figure(figsize=(6.2 * len(names), 5.6), layout='constrained')
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1, projection='3d')
        for plan in _some(data.plans):
            axes.plot(*plan.rows[:, index, :3].T, color=plan_colour(plan), lw=0.6, alpha=0.7)
        _line(axes, data.targets[1][:, index], TARGET, 'commanded', 1.0)
        _line(axes, measured[:, index], INK, 'executed', 1.6)
        if len(times):
            axes.scatter(*measured[0, index, :3], color=INK, s=30, label='start')
        axes.set(title=name, xlabel=AXES[0], ylabel=AXES[1], zlabel=AXES[2])
        _widen((axes.xaxis, axes.yaxis, axes.zaxis), LEAST_SPAN_M)
        axes.set_aspect('equal', adjustable='datalim')
        legend(axes, data, loc='upper left')
    return figure


def _widen(directions: Iterable[Axis], least: float) -> None:
    """Widen an axis to a minimum range, so that noise does not look like motion."""
    for axis in directions:
        low, high = axis.get_view_interval()
        if high - low < least:
            middle = (low + high) / 2
            axis.set_view_interval(middle - least / 2, middle + least / 2, ignore=True)


def _line(axes: Axes, rows: NDArray[np.float64], colour: str, label: str, width: float) -> None:
    if len(rows):
        axes.plot(*rows[:, :3].T, color=colour, lw=width, label=label)


def channels(data: ReportData) -> Figure | None:
    """Draw position and orientation over time, one column per arm."""
    if not len(data.measured[0]) and not len(data.targets[0]):
        return None
    names = data.embodiment.arm_names
    figure, grid = plt.subplots(
        6, len(names), figsize=(11, 10), sharex=True, squeeze=False, layout='constrained'
    )
    for index, name in enumerate(names):
        _channel_column(grid[:, index], data, index)
        grid[0, index].set_title(name)
    legend(grid[0, 0], data, loc='lower left', bbox_to_anchor=(0, 1.12), ncols=7, frameon=False)
    for axes in grid[-1]:
        axes.set_xlabel('time [s]')
    return figure


def _channel_column(column: NDArray[Any], data: ReportData, index: int) -> None:
    """Draw the six channels of one arm."""
    reference = _reference(data, index)

    def draw(times: NDArray[np.float64], rows: NDArray[np.float64], **style: Any) -> None:
        for axes, channel in zip(column, _channels(rows[:, index], reference).T, strict=True):
            axes.plot(times, channel, **style)

    for plan in _some(data.plans):
        draw(plan.times_s, plan.rows, color=plan_colour(plan), lw=0.5)
    draw(*data.targets, color=TARGET, lw=1.0, label='commanded')
    draw(*data.measured, color=INK, lw=1.4, label='executed')
    spans = (LEAST_SPAN_M,) * 3 + (LEAST_SPAN_DEG,) * 3
    for axes, label, span in zip(column, (*AXES, *TURNS), spans, strict=True):
        _widen((axes.yaxis,), span)
        dress(axes, data, label)


def _reference(data: ReportData, index: int) -> NDArray[np.float64]:
    """Return the reference orientation of the plot: the first one known."""
    for _, rows in (data.measured, data.targets):
        known = rows[np.isfinite(rows[:, index, 3:7]).all(axis=1), index, 3:7]
        if len(known):
            return np.asarray(known[0])
    return np.array([0.0, 0.0, 0.0, 1.0])


def _channels(rows: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return position [m] and turn from a reference (rotation vector, deg) as (N, 6)."""
    from scipy.spatial.transform import Rotation

    values = np.full((len(rows), 6), np.nan)
    values[:, :3] = rows[:, :3]
    known = np.isfinite(rows[:, 3:7]).all(axis=1)
    if known.any():
        turn = Rotation.from_quat(rows[known, 3:7]) * Rotation.from_quat(reference).inv()
        values[known, 3:] = np.degrees(turn.as_rotvec())
    return values


def grippers(data: ReportData) -> Figure | None:
    """Draw the model's gripper value, its thresholds and the measured opening."""
    if not data.plans and not len(data.measured[0]):
        return None
    names = data.embodiment.arm_names
    figure, grid = plt.subplots(
        len(names), 1, figsize=(11, 2.4 * len(names)), squeeze=False, sharex=True,
        layout='constrained',
    )  # fmt: skip
    for index, (name, arm) in enumerate(data.embodiment.arms.items()):
        axes, gripper = grid[index, 0], arm.gripper
        for plan in _some(data.plans):
            values = _closed(plan.rows[:, index, 7], gripper.closed_probability)
            axes.plot(plan.times_s, values, color=plan_colour(plan), lw=0.6)
        firsts = _first_steps(data, index, gripper.closed_probability)
        axes.plot(*firsts, '.', ms=3, color=TARGET, label='probability of closed')
        times, rows = data.measured
        axes.plot(times, rows[:, index, 7], color=INK, lw=1.3, label='measured opening')
        opens = gripper.threshold - gripper.hysteresis
        axes.axhline(gripper.threshold, color=BAD, lw=1, ls='--', label='closes above')
        axes.axhline(opens, color='#2a7f3f', lw=1, ls='--', label='opens below')
        axes.set_ylim(-0.05, 1.05)
        dress(axes, data, name)
    legend(grid[0, 0], data, loc='lower left', bbox_to_anchor=(0, 1.02), ncols=5, frameon=False)
    grid[-1, 0].set_xlabel('time [s]')
    return figure


def _closed(values: NDArray[np.float64], closed_probability: float) -> NDArray[np.float64]:
    """Return the model's values as the probability that the gripper is closed."""
    return values if closed_probability == 1.0 else 1.0 - values


def _first_steps(
    data: ReportData, index: int, closed_probability: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the time of each chunk's first step, and its probability of closed."""
    times = np.array([plan.times_s[0] for plan in data.plans])
    values = np.array([plan.rows[0, index, 7] for plan in data.plans])
    return times, _closed(values, closed_probability)
