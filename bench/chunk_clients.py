# SPDX-License-Identifier: Apache-2.0
"""Clients of a replayed policy, each simulated at the control rate: ours and its peers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.lerobot_queue import LerobotQueue
from bench.replayed_world import CAMERA_AGE_S, ReplayedWorld
from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.inpainting import drawn_to_plan, plan_weights
from xvla_ros.core.rotations import matrix_to_rotate6d

Array = NDArray[np.float64]

RATE_HZ = 100.0
TICK_S = 1 / RATE_HZ
INPAINT_S = 0.2  # control.inpaint_s, as it is by default
SEEN = 6  # column of an answer's rows: when the scene was seen [s]


@dataclass(kw_only=True, slots=True, eq=False)
class Trace:
    """
    What a client commanded, per tick of 10 ms.

    commands: (N, 3) [m]. counts: (N, 3) how many events of each channel the command reflects;
    fractions while a new answer has only part in it. seen_s, mean_seen_s: (N,) when the newest
    observation behind the command was made, and their mean weighted by their parts. starved: (N,)
    no plan was there. switches: ticks at which an answer took effect. Rows before the first
    answer are NaN.
    """

    commands: Array
    counts: Array
    seen_s: Array
    mean_seen_s: Array
    starved: NDArray[np.bool_]
    switches: list[int]


def _empty(ticks: int) -> Trace:
    return Trace(
        commands=np.full((ticks, 3), np.nan),
        counts=np.full((ticks, 3), np.nan),
        seen_s=np.full(ticks, np.nan),
        mean_seen_s=np.full(ticks, np.nan),
        starved=np.zeros(ticks, dtype=bool),
        switches=[],
    )


def run_ours(world: ReplayedWorld, ticks: int, **options: Any) -> Trace:
    """Simulate ChunkQueue with these options; it asks again as soon as an answer has come."""
    queue = ChunkQueue(**options)
    trace = _empty(ticks)
    ordinal, asked_s, done_s = 0, 0.0, world.latencies_s[0]
    chunk = _chunk(world, ordinal, asked_s, queue)
    for tick in range(ticks):
        now_ns = round(tick * TICK_S * NANOSECONDS)
        if tick * TICK_S >= done_s:
            if queue.put(chunk, now_ns):
                trace.switches.append(tick)
                seen_s = chunk.stamp_ns / NANOSECONDS
            ordinal, asked_s = ordinal + 1, done_s
            done_s = asked_s + world.latencies_s[ordinal]
            chunk = _chunk(world, ordinal, asked_s, queue)
        targets = queue.take(now_ns)
        trace.starved[tick] = bool(trace.switches) and queue.remaining_s(now_ns) == 0
        if targets is not None:
            trace.commands[tick], trace.counts[tick] = (t.position for t in targets)
            trace.seen_s[tick] = seen_s
            trace.mean_seen_s[tick] = tick * TICK_S - (queue.age_s(now_ns) or 0.0)
        elif trace.switches:
            for rows in (trace.commands, trace.counts, trace.seen_s, trace.mean_seen_s):
                rows[tick] = rows[tick - 1]
    return trace


def _chunk(world: ReplayedWorld, ordinal: int, asked_s: float, queue: ChunkQueue) -> Chunk:
    """Return an answer as a chunk of two arms: the tool, and the counts of events."""
    seen_s = asked_s - CAMERA_AGE_S
    stamp_ns = round(seen_s * NANOSECONDS)
    anchors, counts = world.answer(ordinal, seen_s)
    actions = np.zeros((len(anchors), 20))
    actions[:, 0:3], actions[:, 10:13] = anchors, counts
    actions[:, 3:9] = actions[:, 13:19] = matrix_to_rotate6d(np.eye(3), 'interleaved')
    plan = queue.plan(stamp_ns, world.period_s, len(actions))
    if queue.strategy == 'inpaint' and plan is not None:
        latency_s = CAMERA_AGE_S + world.latency_s
        weights = plan_weights(world.period_s, len(actions), latency_s, INPAINT_S)
        actions = drawn_to_plan(actions, plan.actions, weights)
    return Chunk(stamp_ns=stamp_ns, period_s=world.period_s, actions=actions, sequence=ordinal)


def _answer_row(world: ReplayedWorld, ordinal: int, asked_s: float) -> Array:
    """Return an answer as rows (30, 7): tool, counts of events, when the scene was seen."""
    seen_s = asked_s - CAMERA_AGE_S
    anchors, counts = world.answer(ordinal, seen_s)
    return np.column_stack([anchors, np.tile([*counts, seen_s], (len(anchors), 1))])


def run_sync(world: ReplayedWorld, ticks: int) -> Trace:
    """Simulate the synchronous client: ask, wait, execute all anchors, ask again."""
    pops = _Pops(world, ticks)
    ordinal, now_s = 0, 0.0
    while now_s < ticks * TICK_S:
        rows = _answer_row(world, ordinal, now_s)
        now_s += world.latencies_s[ordinal]
        pops.switches_s.append(now_s)
        for row in rows:
            pops.add(now_s, row, row[SEEN])
            now_s += world.period_s
        pops.starve(now_s, now_s + world.latencies_s[ordinal + 1])
        ordinal += 1
    return pops.trace(interpolate=False)


class _LerobotServer:
    """LeRobot's policy server: the newest observation first, one at a time, no step twice."""

    def __init__(self, world: ReplayedWorld) -> None:
        """Start idle."""
        self._world = world
        self._predicted: set[int] = set()
        self._pending: tuple[int, bool, float] | None = None
        self._running: tuple[Array, int, float] | None = None
        self._free_s = 0.0
        self._ordinal = 0

    def ask(self, timestep: int, must_go: bool, asked_s: float) -> None:
        """Offer an observation; it replaces one that still waits."""
        self._pending = (timestep, must_go, asked_s)

    def answer(self, now_s: float) -> tuple[Array, int, float] | None:
        """Return an answer that has come by now: its rows, its timestep and when it came."""
        self._start()
        if self._running is None or self._running[2] > now_s:
            return None
        answer, self._running = self._running, None
        self._free_s = answer[2]
        return answer

    def _start(self) -> None:
        """Begin with the observation that waits, unless its step was answered already."""
        if self._running is not None or self._pending is None:
            return
        (timestep, must_go, asked_s), self._pending = self._pending, None
        if must_go or timestep not in self._predicted:
            self._predicted.add(timestep)
            done_s = max(asked_s, self._free_s) + self._world.latencies_s[self._ordinal]
            self._running = (_answer_row(self._world, self._ordinal, asked_s), timestep, done_s)
            self._ordinal += 1


def run_lerobot(world: ReplayedWorld, ticks: int, *, interpolate: bool) -> Trace:
    """Simulate LeRobot's asynchronous client and server around its own queue code."""
    queue, server, pops = LerobotQueue(), _LerobotServer(world), _Pops(world, ticks)
    newest_s = 0.0
    for step in range(int(ticks * TICK_S / world.period_s) + 1):
        now_s = step * world.period_s
        while (answer := server.answer(now_s)) is not None:
            queue.receive(*answer, world.period_s)
            pops.switches_s.append(now_s)
            newest_s = answer[0][0, SEEN]
        action, observation = queue.tick()
        if action is not None:
            pops.add(now_s, action, newest_s)
        elif pops.rows:
            pops.starve(now_s, now_s + world.period_s)
        if observation is not None:
            server.ask(*observation, now_s)
    return pops.trace(interpolate=interpolate)


class _Pops:
    """Actions popped one per anchor period, turned into commands at the control rate."""

    def __init__(self, world: ReplayedWorld, ticks: int) -> None:
        """Start without actions."""
        self._period_s = world.period_s
        self._ticks = ticks
        self.times_s: list[float] = []
        self.rows: list[Array] = []
        self._newest_s: list[float] = []
        self.switches_s: list[float] = []
        self._starved_s: list[tuple[float, float]] = []

    def add(self, time_s: float, row: Array, newest_s: float) -> None:
        """Record an action (7,), when it was popped, and the newest observation in the queue."""
        self.times_s.append(time_s)
        self.rows.append(row)
        self._newest_s.append(newest_s)

    def starve(self, start_s: float, end_s: float) -> None:
        """Record a time span in which the queue was empty."""
        self._starved_s.append((start_s, end_s))

    def trace(self, *, interpolate: bool) -> Trace:
        """
        Return the commands: held until the next action, or drawn straight to each action.

        A straight line to an action takes one period, as an interpolator that learns of an action
        when it is popped can draw it.
        """
        times_s = TICK_S * np.arange(self._ticks)
        index = np.searchsorted(np.array(self.times_s), times_s + 1e-9, side='right') - 1
        rows = np.array(self.rows)
        values = rows[np.maximum(index, 0)]
        if interpolate:
            before = rows[np.maximum(index - 1, 0)]
            popped_s = np.array(self.times_s)[np.maximum(index, 0)]
            share = np.clip((times_s - popped_s) / self._period_s, 0, 1)[:, None]
            values = before + share * (values - before)
        seen_s = np.array(self._newest_s)[np.maximum(index, 0)]
        values[index < 0] = seen_s[index < 0] = np.nan
        starved = np.zeros(self._ticks, dtype=bool)
        for start_s, end_s in self._starved_s:
            starved |= (times_s >= start_s - 1e-9) & (times_s < end_s - 1e-9)
        switches = [int(np.ceil(s / TICK_S - 1e-9)) for s in self.switches_s]
        return Trace(
            commands=values[:, :3],
            counts=values[:, 3:6],
            seen_s=seen_s,
            mean_seen_s=values[:, SEEN],
            starved=starved,
            switches=[s for s in switches if s < self._ticks],
        )
