# SPDX-License-Identifier: Apache-2.0
"""The pictures of a report, drawn by matplotlib, each as the bytes of a PNG."""

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from xvla_ros.replay.report_data import Plan, ReportData, STATES

mpl.use('Agg')
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
import matplotlib.pyplot as plt

INK, PLAN, TARGET, WARN, BAD = '#1b4965', '#b8c4cc', '#e07a1f', '#e0a800', '#c1121f'
STATE_COLOURS = {
    'IDLE': '#d9dee2', 'WAITING': '#9bb1bf', 'DRY_RUN': '#7fb3d5', 'ENGAGING': '#f2cc8f',
    'RUNNING': '#81b29a', 'HOLDING': '#e0a800', 'FAULT': '#c1121f',
}  # fmt: skip
LATENCIES = (
    ('image_age_s', 'image age', '#9bb1bf'),
    ('preprocess_s', 'preparing', '#f2cc8f'),
    ('inference_s', 'network', '#1b4965'),
    ('handover', 'handing over', '#e07a1f'),
)
DPI = 90
# More plans than this make a plot grey without saying more.
MOST_PLANS = 150
# What is drawn of an axis at the least.
LEAST_SPAN_M, LEAST_SPAN_DEG = 0.02, 1.0
AXES = ('x [m]', 'y [m]', 'z [m]')
TURNS = ('roll [deg]', 'pitch [deg]', 'yaw [deg]')


def figures(data: ReportData) -> list[tuple[str, str, bytes]]:
    """Return title, one sentence of explanation and PNG of every picture that has data."""
    pictures: list[tuple[str, str, Callable[[ReportData], Figure | None]]] = [
        ('Path', 'Planned, commanded and executed tool path in each arm’s base frame.', paths),
        (
            'Channels',
            'Commanded and measured position and orientation; grey lines are plans, ticks along '
            'the top are where a new chunk joins.',
            channels,
        ),
        (
            'Gripper',
            'What every chunk says of the gripper at the time it is for, the thresholds between '
            'which nothing changes, and the opening that was measured.',
            grippers,
        ),
        ('Latency', 'Where the time from picture to plan went, per chunk.', latency),
        (
            'Timeline',
            'State of the policy, plan left in the queue, starved, missed and clamped ticks.',
            timeline,
        ),
        ('Verdicts', 'What the safety gate said of the chunks, and why.', verdicts),
    ]
    drawn = ((title, text, draw(data)) for title, text, draw in pictures)
    return [(title, text, _png(figure)) for title, text, figure in drawn if figure is not None]


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DPI, format='png', metadata={'Software': None})
    plt.close(figure)
    return buffer.getvalue()


def _some(plans: list[Plan]) -> list[Plan]:
    return plans[:: max(1, -(-len(plans) // MOST_PLANS))]


def paths(data: ReportData) -> Figure | None:
    """Draw the paths in space, one picture per arm."""
    times, measured = data.measured
    if not len(times) and not data.plans:
        return None
    names = data.embodiment.arm_names
    figure = plt.figure(figsize=(6.2 * len(names), 5.6), layout='constrained')
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1, projection='3d')
        for plan in _some(data.plans):
            colour = BAD if plan.verdict == 'rejected' else PLAN
            axes.plot(*plan.rows[:, index, :3].T, color=colour, lw=0.6, alpha=0.7)
        _line(axes, data.targets[1][:, index], TARGET, 'commanded', 1.0)
        _line(axes, measured[:, index], INK, 'executed', 1.6)
        if len(times):
            axes.scatter(*measured[0, index, :3], color=INK, s=30, label='start')
        axes.set(title=name, xlabel=AXES[0], ylabel=AXES[1], zlabel=AXES[2])
        _widen((axes.xaxis, axes.yaxis, axes.zaxis), LEAST_SPAN_M)
        axes.set_aspect('equal', adjustable='datalim')
        axes.legend(loc='upper left', fontsize=8)
    return figure


def _widen(directions: Iterable[Axis], least: float) -> None:
    """Let an axis show at least so much: noise shall not look like motion."""
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
    grid[0, 0].legend(loc='upper right', fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel('time [s]')
    return figure


def _channel_column(column: Sequence[Axes], data: ReportData, index: int) -> None:
    """Draw the six channels of one arm."""
    reference = _reference(data, index)

    def draw(times: NDArray[np.float64], rows: NDArray[np.float64], **style: object) -> None:
        for axes, channel in zip(column, _channels(rows[:, index], reference).T, strict=True):
            axes.plot(times, channel, **style)

    for plan in _some(data.plans):
        draw(plan.times_s, plan.rows, color=PLAN, lw=0.5)
    draw(*data.targets, color=TARGET, lw=1.0, label='commanded')
    draw(*data.measured, color=INK, lw=1.4, label='executed')
    spans = (LEAST_SPAN_M,) * 3 + (LEAST_SPAN_DEG,) * 3
    for axes, label, span in zip(column, (*AXES, *TURNS), spans, strict=True):
        _widen((axes.yaxis,), span)
        _dress(axes, data, label)


def _reference(data: ReportData, index: int) -> NDArray[np.float64]:
    """Return the orientation that turns are drawn against: the first one known."""
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


def _dress(axes: Axes, data: ReportData, label: str) -> None:
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
            axes.plot(plan.times_s, values, color=PLAN, lw=0.6)
        firsts = _first_steps(data, index, gripper.closed_probability)
        axes.plot(*firsts, '.', ms=3, color=TARGET, label='probability of closed')
        times, rows = data.measured
        axes.plot(times, rows[:, index, 7], color=INK, lw=1.3, label='measured opening')
        opens = gripper.threshold - gripper.hysteresis
        axes.axhline(gripper.threshold, color=BAD, lw=1, ls='--', label='closes above')
        axes.axhline(opens, color='#2a7f3f', lw=1, ls='--', label='opens below')
        axes.set_ylim(-0.05, 1.05)
        _dress(axes, data, name)
    grid[0, 0].legend(loc='center right', fontsize=8)
    grid[-1, 0].set_xlabel('time [s]')
    return figure


def _closed(values: NDArray[np.float64], closed_probability: float) -> NDArray[np.float64]:
    """Return the model's values as the probability that the gripper is closed."""
    return values if closed_probability == 1.0 else 1.0 - values


def _first_steps(
    data: ReportData, index: int, closed_probability: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return when the first step of each chunk is due, and its probability of closed."""
    times = np.array([plan.times_s[0] for plan in data.plans])
    values = np.array([plan.rows[0, index, 7] for plan in data.plans])
    return times, _closed(values, closed_probability)


def latency(data: ReportData) -> Figure | None:
    """Draw where the time of each chunk went."""
    if not data.status:
        return None
    values = data.status.values
    new = np.flatnonzero(np.diff(values['sequence'], prepend=0) > 0)
    new = new[np.isfinite(values['observation_age_s'][new])]
    if not len(new):
        return None
    spent = {name: np.nan_to_num(values[name][new]) for name, _, _ in LATENCIES[:3]}
    spent['handover'] = np.clip(values['observation_age_s'][new] - sum(spent.values()), 0.0, None)
    figure, (top, below) = plt.subplots(
        1, 2, figsize=(11, 3), width_ratios=(3, 1), layout='constrained'
    )
    base, width = np.zeros(len(new)), max(data.duration_s / max(len(new), 1) * 0.7, 0.02)
    left = 0.0
    for name, label, colour in LATENCIES:
        top.bar(
            data.status.times_s[new],
            1e3 * spent[name],
            width,
            1e3 * base,
            color=colour,
            label=label,
        )
        base = base + spent[name]
        median = 1e3 * float(np.median(spent[name]))
        below.barh(label, median, left=left, color=colour)
        below.text(left + median, label, f' {median:.0f} ms', va='center', fontsize=8)
        left += median
    top.set(xlabel='time [s]', ylabel='picture to plan [ms]', xlim=(0, data.duration_s))
    top.legend(fontsize=8, ncols=4)
    top.grid(alpha=0.25)
    below.set(title='median', xlabel='ms', xlim=(0, left * 1.3 + 1))
    below.invert_yaxis()
    return figure


def timeline(data: ReportData) -> Figure | None:
    """Draw states, what is left in the queue, and when ticks starved or steps were clamped."""
    status = data.status
    if not status:
        return None
    figure, (band, queue, events) = plt.subplots(
        3, 1, figsize=(11, 4.4), sharex=True, height_ratios=(1, 2, 2), layout='constrained'
    )
    ends = np.append(status.times_s[1:], data.duration_s)
    states = status.values['state'].astype(int)
    for number in np.unique(states):
        mine = states == number
        spans = list(zip(status.times_s[mine], (ends - status.times_s)[mine], strict=True))
        name = STATES[number]
        band.broken_barh(spans, (0, 1), color=STATE_COLOURS[name], label=name.lower())
    band.set_yticks([])
    band.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols=7, fontsize=8, frameon=False)
    queue.fill_between(status.times_s, status.values['queue_remaining_s'], step='post', color=PLAN)
    _dress(queue, data, 'plan left [s]')
    for name, colour in (('starved_ticks', BAD), ('missed_ticks', INK), ('clamped_steps', WARN)):
        counted = np.diff(status.values[name], prepend=0).clip(min=0)
        events.step(status.times_s, counted, color=colour, label=name.replace('_', ' '))
    events.legend(loc='upper right', fontsize=8)
    events.set_ylim(0, max(1.0, events.get_ylim()[1]))
    _dress(events, data, 'since the last status')
    events.set_xlabel('time [s]')
    return figure


def verdicts(data: ReportData) -> Figure | None:
    """Draw how chunks were judged."""
    if not data.verdicts:
        return None
    rows = [
        *((name, count, '#81b29a' if name == 'accepted' else WARN if name == 'clamped' else BAD)
          for name, count in data.verdicts.most_common()),
        *((reason, count, '#9bb1bf') for reason, count in data.reasons.most_common(12)),
    ]  # fmt: skip
    figure, axes = plt.subplots(figsize=(11, 0.5 + 0.32 * len(rows)), layout='constrained')
    names, counts, colours = zip(*rows, strict=True)
    axes.barh(range(len(rows)), counts, color=colours)
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    for place, count in enumerate(counts):
        axes.text(count, place, f' {count}', va='center', fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel='chunks', xlim=(0, max(counts) * 1.1))
    return figure
