# SPDX-License-Identifier: Apache-2.0
"""
Real-time execution of chunks, in simulated time: ours against a synchronous client and LeRobot's.

The same replayed policy, latencies and seeds go through every client; docs/realtime.md defines
the figures. The published case is X-VLA on an RTX 4090: 114 ms per chunk, anchors 66.7 ms apart.
"""

from collections.abc import Callable
from functools import partial
import time

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bench.chunk_clients import run_lerobot, run_ours, run_sync, TICK_S, Trace
from bench.lerobot_queue import load_client
from bench.reference_environment import make_reference, MissingReferenceError
from bench.replayed_world import ReplayedWorld, SHIFT_M

Array = NDArray[np.float64]

PUBLISHED_MS = 114
LATENCIES_MS = (30, 114, 200, 400, 900)
PERIOD_S = 2 / 30
SEEDS = (0, 1, 2, 3)
DURATION_S = 60.0
WARM_UP_S = 4.0
# First-order lag of the robot behind its commands; jerk is measured after it.
ROBOT_LAG_S = 0.06
# A target reflects a shift of the scene once it has moved by 1 mm of its 6 cm.
REFLECTED = 0.001 / SHIFT_M
UNITS = {
    'jerk_rms': 'm/s^3',
    'switch_step_p99_mm': 'mm',
    'reaction_ms': 'ms',
    'action_age_ms': 'ms',
    'starved_ticks': 'ticks',
}
# The same figure by a stricter definition, beside it: (figure, key, other definition).
STRICTER = (
    ('reaction_ms', 'half', 'half_reaction_ms'),
    ('action_age_ms', 'weighted', 'weighted_age_ms'),
)
Client = Callable[[ReplayedWorld, int], Trace]
Rows = dict[str, dict[str, float]]  # client -> figure -> value
CLIENTS: dict[str, Client] = {
    'ours': run_ours,
    'sync': run_sync,
    'lerobot': partial(run_lerobot, interpolate=False),
    'lerobot_interpolated': partial(run_lerobot, interpolate=True),
}
STRATEGIES = ('replace', 'blend', 'ensemble', 'inpaint')


def run() -> dict[str, dict[str, object]]:
    """Return the figures of `realtime`, keyed by name."""
    clients, skipped = dict(CLIENTS), ''
    try:
        make_reference('--sources')
        load_client()
    except MissingReferenceError as error:
        skipped = str(error)
        tqdm.write(f'without lerobot as an anchor: {error}')
        clients = {name: CLIENTS[name] for name in ('ours', 'sync')}
    rows = {ms: simulate(clients, ms) for ms in tqdm(LATENCIES_MS, 'latencies [ms]')}
    strategies = {name: partial(run_ours, strategy=name) for name in STRATEGIES}
    compared = simulate(strategies, PUBLISHED_MS, SEEDS[:2])
    entries = {f'realtime.{name}': _entry(name, rows, compared) for name in UNITS}
    for figure, key, other in STRICTER:
        values = {client: row[other] for client, row in rows[PUBLISHED_MS].items()}
        entries[f'realtime.{figure}'][key] = values
    for entry in entries.values():
        if skipped:
            entry['skipped'] = skipped
    return entries


def _entry(figure: str, rows: dict[int, Rows], compared: Rows) -> dict[str, object]:
    """
    Return one figure of every client, at the published latency and by latency.

    The anchor is LeRobot's queue with interpolation; the ratio says how many times better we are.
    """
    published = {client: row[figure] for client, row in rows[PUBLISHED_MS].items()}
    entry: dict[str, object] = dict(published)
    entry['unit'] = UNITS[figure]
    entry['n'] = len(SEEDS) * int((DURATION_S - WARM_UP_S) / TICK_S)
    anchor = published.get('lerobot_interpolated')
    if anchor is not None:
        entry['anchor'] = anchor
        if published['ours'] > 0:
            entry['ratio'] = anchor / published['ours']
    entry['by_latency'] = {
        str(ms): {client: row[figure] for client, row in clients.items()}
        for ms, clients in rows.items()
    }
    entry['by_strategy'] = {name: row[figure] for name, row in compared.items()}
    return entry


def simulate(
    clients: dict[str, Client],
    latency_ms: float,
    seeds: tuple[int, ...] = SEEDS,
    duration_s: float = DURATION_S,
) -> Rows:
    """Return every figure of every client at one latency."""
    return {
        name: _figures(client, latency_ms / 1e3, seeds, duration_s)
        for name, client in clients.items()
    }


def _figures(
    client: Client, latency_s: float, seeds: tuple[int, ...], duration_s: float
) -> dict[str, float]:
    """Return the figures of one client, pooled over the seeds."""
    ticks, warm = int(duration_s / TICK_S), int(WARM_UP_S / TICK_S)
    times_s = TICK_S * np.arange(ticks)
    jerks, steps, reactions, halves, ages, weighted, starved = [], [], [], [], [], [], 0
    for seed in seeds:
        world = ReplayedWorld(seed, duration_s, latency_s, PERIOD_S)
        trace = client(world, ticks)
        jerks.append(_jerks(trace.commands[warm:]))
        steps.extend(_switch_steps(trace, warm))
        reactions.extend(_reactions(trace, world, REFLECTED))
        halves.extend(_reactions(trace, world, 0.5))
        ages.append((times_s - trace.seen_s)[warm:])
        weighted.append((times_s - trace.mean_seen_s)[warm:])
        starved += int(trace.starved[warm:].sum())
    return {
        'jerk_rms': float(np.sqrt(np.mean(np.concatenate(jerks) ** 2))),
        'switch_step_p99_mm': 1e3 * float(np.percentile(steps, 99)),
        'reaction_ms': 1e3 * float(np.mean(reactions)),
        'half_reaction_ms': 1e3 * float(np.mean(halves)),
        'action_age_ms': 1e3 * float(np.mean(ages)),
        'weighted_age_ms': 1e3 * float(np.mean(weighted)),
        'starved_ticks': float(starved),
    }


def _jerks(commands: Array) -> Array:
    """Return the jerk (N,) of a robot that follows the commands with a first-order lag."""
    gain = 1 - np.exp(-TICK_S / ROBOT_LAG_S)
    positions = np.empty_like(commands)
    positions[0] = commands[0]
    for k in range(1, len(commands)):
        positions[k] = positions[k - 1] + gain * (commands[k] - positions[k - 1])
    return np.linalg.norm(np.diff(positions, 3, axis=0), axis=1) / TICK_S**3


def _switch_steps(trace: Trace, warm: int) -> list[float]:
    """Return the largest command step [m] within one anchor period of every chunk switch."""
    steps = np.linalg.norm(np.diff(trace.commands, axis=0), axis=1)  # step i leads to tick i + 1
    span = round(PERIOD_S / TICK_S)
    return [float(steps[s - 1 : s - 1 + span].max()) for s in trace.switches if s > warm]


def _reactions(trace: Trace, world: ReplayedWorld, share: float) -> list[float]:
    """Return how long after each event [s] the first target reflected a share of it."""
    reactions = []
    for counts, events_s in zip(trace.counts.T, world.events_s, strict=True):
        for index, time_s in enumerate(events_s):
            start = int(np.ceil(time_s / TICK_S))
            reached = np.flatnonzero(counts[start:] >= index + share)
            reactions.append((start + reached[0]) * TICK_S - time_s)
    return reactions


if __name__ == '__main__':
    began = time.perf_counter()
    for name, entry in run().items():
        tqdm.write(f'{name}: {entry}')
    tqdm.write(f'{time.perf_counter() - began:.1f} s')
