# SPDX-License-Identifier: Apache-2.0
"""The data of a report, read from a bag and, if given, from a replay's results."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.chunks import ChunkSaid, recorded_chunks, recorded_targets, stamp_ns
from xvla_ros.bags.message_types import read_message
from xvla_ros.bags.topics import INSTRUCTION, recorded_name, STATUS, STRING, TASK
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.replay.results import CHUNKS, read_table, read_verdicts, Table, TARGETS

KINDS = {TASK: STRING, INSTRUCTION: STRING, STATUS: 'xvla_ros/msg/PolicyStatus'}
STATES = ('IDLE', 'WAITING', 'DRY_RUN', 'ENGAGING', 'RUNNING', 'HOLDING', 'FAULT')


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """
    One chunk to draw.

    start_s: time of its observation. joint_s: time of its arrival, None if unknown. times_s (T,)
    and rows (T, arms, 8) of its steps.
    """

    start_s: float
    joint_s: float | None
    times_s: NDArray[np.float64]
    rows: NDArray[np.float64]
    verdict: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Status:
    """Every PolicyStatus, as columns (N,); times in seconds of the report."""

    times_s: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]
    messages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return len(self.times_s) > 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReportData:
    """
    The data of a report. Times are seconds since the bag's start on the stamps' clock.

    measured and targets: times (N,) and rows (N, arms, 8), NaN for a hold. images: JPEG by camera.
    """

    title: str
    facts: list[tuple[str, str]]
    embodiment: Embodiment
    duration_s: float
    tasks: list[tuple[float, str]]
    measured: tuple[NDArray[np.float64], NDArray[np.float64]]
    targets: tuple[NDArray[np.float64], NDArray[np.float64]]
    plans: list[Plan]
    status: Status
    verdicts: Counter[str]
    reasons: Counter[str]
    images: dict[str, list[tuple[float, bytes]]] = field(default_factory=dict)


STATUS_FIELDS = (
    'state', 'sequence', 'image_age_s', 'preprocess_s', 'inference_s', 'observation_age_s',
    'queue_remaining_s', 'clamped_steps', 'starved_ticks', 'ticks', 'missed_ticks',
)  # fmt: skip


class BagReader:
    """Reads the policy's side of a bag, in seconds since its start."""

    def __init__(self, bag: Bag, embodiment: Embodiment, offset_ns: int) -> None:
        """:param offset_ns: how far the recorder's clock is ahead of the stamps' clock."""
        self._bag, self._embodiment = bag, embodiment
        self._offset_ns, self._start_ns = offset_ns, bag.start_ns - offset_ns

    def seconds(self, time_ns: Any) -> Any:
        """Return times of the stamps' clock [ns] in seconds of the report."""
        return (time_ns - self._start_ns) / NANOSECONDS

    def tasks(self) -> list[tuple[float, str]]:
        """Return the tasks with their start [s]; an empty text means no task."""
        for topic in (TASK, INSTRUCTION):
            said = [
                (self.seconds(time_ns - self._offset_ns), message.data)
                for time_ns, message in self._of(topic)
            ]
            if said:
                return said
        recording = self._bag.recording
        return [(0.0, recording.instruction)] if recording and recording.instruction else []

    def targets(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the published commands."""
        said = recorded_targets(self._bag)
        rows = np.full((len(said), len(self._embodiment.arm_names), 8), np.nan)
        for row, target in zip(rows, said, strict=True):
            if target.arms is not None and target.arms.shape == row.shape:
                row[:] = target.arms
        return self.seconds(np.array([target.stamp_ns for target in said], np.int64)), rows

    def chunks(self) -> list[ChunkSaid]:
        """Return the published chunks."""
        return recorded_chunks(self._bag, self._embodiment)

    def plans(self, said: Sequence[ChunkSaid]) -> list[Plan]:
        """Return published chunks as plans to draw."""
        return [
            Plan(
                start_s=self.seconds(each.stamp_ns),
                joint_s=self.seconds(each.received_ns - self._offset_ns),
                times_s=self.seconds(
                    np.array([each.chunk.due_ns(i) for i in range(len(each.rows))], np.int64)
                ),
                rows=each.rows,
                verdict=each.verdict,
            )
            for each in said
            if each.chunk is not None
        ]

    def status(self) -> Status:
        """Return the status messages of the policy."""
        said = [m for _, m in self._of(STATUS) if m.state < len(STATES)]
        times = np.array([stamp_ns(message.header) for message in said], np.int64)
        order = [i for i, time_ns in enumerate(times) if time_ns > 0]
        columns = {
            name: np.array([float(getattr(said[i], name)) for i in order])
            for name in STATUS_FIELDS
        }
        return Status(
            times_s=self.seconds(times[order]),
            values=columns,
            messages=tuple(said[i].message for i in order),
        )

    def _of(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Yield time of receipt [ns] and message of a topic; skip unreadable messages."""
        name = recorded_name(topic, self._bag.topics)
        if name is None or self._bag.topics[name].kind != KINDS[topic]:
            return
        for raw in self._bag.messages({name}):
            try:
                yield raw.time_ns, read_message(raw.kind, raw.data)
            except ObservationError:
                continue


class RunReader:
    """Reads the results of a deterministic replay instead of the recorded policy's."""

    def __init__(self, folder: Path, bag_reader: BagReader) -> None:
        """Read the tables."""
        self._reader = bag_reader
        self._targets, self._chunks = read_table(folder / TARGETS), read_table(folder / CHUNKS)
        self.verdicts, self.reasons, self._said = read_verdicts(folder)

    def targets(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the commands."""
        return self._reader.seconds(self._targets.stamps_ns), self._targets.values

    def plans(self) -> list[Plan]:
        """Return the chunks. The results do not have their times of arrival."""
        table = self._chunks
        edges = np.flatnonzero(np.diff(table.sequence, prepend=-1))
        parts = zip(edges, [*edges[1:], len(table.sequence)], strict=True)
        return [self._plan(table, slice(begin, end)) for begin, end in parts]

    def _plan(self, table: Table, rows: slice) -> Plan:
        return Plan(
            start_s=float(self._reader.seconds(table.stamps_ns[rows.start])),
            joint_s=None,
            times_s=self._reader.seconds(table.third[rows]),
            rows=table.values[rows],
            verdict=self._said.get(int(table.sequence[rows.start]), 'accepted'),
        )


def count_verdicts(said: Sequence[ChunkSaid]) -> tuple[Counter[str], Counter[str]]:
    """Return how often each verdict and each reason was given."""
    reasons: Counter[str] = Counter()
    for each in said:
        for text in each.reasons:
            reasons.update(part.strip() for part in text.split(';') if part.strip())
    return Counter(each.verdict for each in said), reasons
