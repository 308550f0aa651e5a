# SPDX-License-Identifier: Apache-2.0
"""The charts of a report: latency, states and events over time, verdicts."""

from matplotlib.figure import Figure
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from xvla_ros.replay.report.data import ReportData, STATES
from xvla_ros.replay.report.style import BAD, dress, INK, legend, PLAN, WARN

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


def latency(data: ReportData) -> Figure | None:
    """Draw the time from image to plan of each chunk, by stage."""
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
    times = data.status.times_s[new]
    base = np.zeros(len(new))
    left = 0.0
    for name, label, colour in LATENCIES:
        top.bar(times, 1e3 * spent[name], _widths(times), 1e3 * base, color=colour, label=label)
        base = base + spent[name]
        median = 1e3 * float(np.median(spent[name]))
        below.barh(label, median, left=left, color=colour)
        below.text(left + median, label, f' {median:.0f} ms', va='center', fontsize=8)
        left += median
    top.set(xlabel='time [s]', ylabel='image to plan [ms]', xlim=(0, data.duration_s))
    top.legend(fontsize=8, ncols=4)
    top.grid(alpha=0.25)
    below.set(title='median', xlabel='ms', xlim=(0, left * 1.3 + 1))
    below.invert_yaxis()
    return figure


def _widths(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the widths (N,) of bars around ascending times so that no two overlap [s]."""
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    if not len(steps):
        return np.full(len(times_s), 0.05)
    nearest = np.minimum(np.append(np.inf, np.diff(times_s)), np.append(np.diff(times_s), np.inf))
    return np.asarray(0.8 * np.where(nearest > 0, np.minimum(nearest, 0.5), steps.min()))


def timeline(data: ReportData) -> Figure | None:
    """Draw states, the time left in the queue, starved ticks and clamped steps."""
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
    dress(queue, data, 'plan left\nin the queue [s]')
    for name, colour in (('starved_ticks', BAD), ('missed_ticks', INK), ('clamped_steps', WARN)):
        counted = np.diff(status.values[name], prepend=0).clip(min=0)
        events.step(status.times_s, counted, color=colour, label=name.replace('_', ' '))
    legend(events, data, plans=False, loc='upper right', ncols=2)
    events.set_ylim(0, max(1.0, events.get_ylim()[1]))
    dress(events, data, 'since the last status')
    events.set_xlabel('time [s]')
    return figure


def verdicts(data: ReportData) -> Figure | None:
    """Draw the verdicts on chunks."""
    if not data.verdicts:
        return None
    rows = [
        *((name, count, '#81b29a' if name == 'accepted' else WARN if name == 'clamped' else BAD)
          for name, count in data.verdicts.most_common()),
        *((f'reason: {r}', count, '#9bb1bf') for r, count in data.reasons.most_common(12)),
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
