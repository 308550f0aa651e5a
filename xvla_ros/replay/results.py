# SPDX-License-Identifier: Apache-2.0
"""The result files of a replay; the same bag gives the same bytes."""

from array import array
from collections import Counter
from collections.abc import Sequence
import csv
from dataclasses import dataclass
import json
from pathlib import Path
import re

import numpy as np
from numpy.typing import NDArray

from xvla_ros.bags.chunks import arm_rows, chunk_rows
from xvla_ros.control.spaces import make_space
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError, Reason
from xvla_ros.core.verdict import Verdict

TARGETS, VERDICTS, CHUNKS, SUMMARY = (
    'targets.csv', 'verdicts.jsonl', 'chunks.csv', 'summary.json',
)  # fmt: skip
NUMBER = re.compile(r'\d+(?:\.\d+)?')
CHANNELS = ('x_m', 'y_m', 'z_m', 'qx', 'qy', 'qz', 'qw', 'gripper')


class ResultFiles:
    """The files of one replay while it runs; a context that closes them."""

    def __init__(self, folder: Path, embodiment: Embodiment) -> None:
        """Open the files, replacing those of an earlier replay."""
        folder.mkdir(parents=True, exist_ok=True)
        self._names = embodiment.arm_names
        self._layout, self._space = embodiment.policy.rotation_6d_layout, make_space(embodiment)
        self._targets = (folder / TARGETS).open('w', encoding='utf-8', newline='\n')
        self._chunks = (folder / CHUNKS).open('w', encoding='utf-8', newline='\n')
        self._verdicts = (folder / VERDICTS).open('w', encoding='utf-8', newline='\n')
        columns = [f'{name}.{channel}' for name in self._names for channel in CHANNELS]
        self._targets.write(','.join(['stamp_ns', 'sequence', 'hold', *columns]) + '\n')
        self._chunks.write(','.join(['stamp_ns', 'sequence', 'due_ns', *columns]) + '\n')
        self._state: tuple[object, ...] = ()

    def __enter__(self) -> 'ResultFiles':
        """Return the files."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for file in (self._targets, self._chunks, self._verdicts):
            file.close()

    def target(self, now_ns: int, sequence: int, arms: Sequence[ArmPose] | None) -> None:
        """Write one tick; None instead of arms is a hold."""
        values = ',' * (len(CHANNELS) * len(self._names) - 1)
        if arms is not None:
            values = _numbers(arm_rows(arms))
        self._targets.write(f'{now_ns},{sequence},{int(arms is None)},{values}\n')

    def state(self, now_ns: int, state: str, reason: Reason) -> None:
        """Write the state of the policy when it changes."""
        if (state, reason.code, reason.source) != self._state:
            self._state = (state, reason.code, reason.source)
            self._line({'tick_ns': now_ns, 'state': state, 'message': reason.text})

    def chunk(self, chunk: Chunk, verdict: Verdict) -> None:
        """Write one judged chunk."""
        said = 'accepted' if verdict.accepted else 'rejected'
        self._line(
            {
                'chunk': chunk.sequence,
                'stamp_ns': chunk.stamp_ns,
                'verdict': 'clamped' if verdict.accepted and verdict.reasons else said,
                'reasons': list(verdict.reasons),
                'message': verdict.message,
            }
        )
        rows = chunk_rows(chunk, self._layout, len(self._names), self._space)
        for index, row in enumerate(rows):
            values = _numbers(row)
            self._chunks.write(
                f'{chunk.stamp_ns},{chunk.sequence},{chunk.due_ns(index)},{values}\n'
            )

    def counts(self, counts: dict[str, object]) -> None:
        """Write the counts as the last line."""
        self._line({'counts': counts})

    def _line(self, values: dict[str, object]) -> None:
        self._verdicts.write(json.dumps(values) + '\n')


def _numbers(rows: NDArray[np.float64]) -> str:
    return ','.join(f'{value:.9f}' for value in rows.ravel().tolist())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """
    Rows of targets.csv or chunks.csv.

    arms: their names. stamps_ns, sequence, third: (N,) int64, `third` is hold or due_ns.
    values: (N, arms, 8) as in CHANNELS, NaN while the robot holds.
    """

    arms: tuple[str, ...]
    stamps_ns: NDArray[np.int64]
    sequence: NDArray[np.int64]
    third: NDArray[np.int64]
    values: NDArray[np.float64]


def read_table(path: Path) -> Table:
    """
    Read a file that a replay wrote.

    :raises ObservationError: the file has another format.
    """
    integers, values = array('q'), array('d')
    try:
        with path.open(encoding='utf-8', newline='') as file:
            rows = csv.reader(file)
            header = next(rows, [])
            names = tuple(dict.fromkeys(column.split('.')[0] for column in header[3:]))
            columns = [f'{name}.{channel}' for name in names for channel in CHANNELS]
            if header[:2] != ['stamp_ns', 'sequence'] or header[3:] != columns:
                raise ValueError(f'its columns are {header}')
            for row in rows:
                integers.extend(map(int, row[:3]))
                values.extend(float(value) if value else np.nan for value in row[3:])
        whole = np.array(integers, np.int64).reshape(-1, 3)
        shaped = np.array(values).reshape(len(whole), len(names), len(CHANNELS))
    except (OSError, ValueError) as error:
        raise ObservationError(f'{path}: not a table of targets: {error}') from error
    return Table(
        arms=names,
        stamps_ns=whole[:, 0],
        sequence=whole[:, 1],
        third=whole[:, 2],
        values=shaped,
    )


def read_verdicts(folder: Path) -> tuple[Counter[str], Counter[str], dict[int, str]]:
    """Return the counts of verdicts and of reasons, and the verdict of each chunk."""
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    said: dict[int, str] = {}
    for line in (folder / VERDICTS).read_text(encoding='utf-8').splitlines():
        values = json.loads(line)
        if 'chunk' in values:
            verdicts[values['verdict']] += 1
            reasons.update(values['reasons'])
            said[values['chunk']] = values['verdict']
    return verdicts, reasons, said


def worst_refusals(folder: Path) -> list[str]:
    """Return one line for each verdict, reason and arm, with its worst case."""
    counts: Counter[tuple[str, str]] = Counter()
    worst: dict[tuple[str, str], str] = {}
    for line in (folder / VERDICTS).read_text(encoding='utf-8').splitlines():
        values = json.loads(line)
        for text in filter(None, str(values.get('message', '')).split('; ')):
            if 'chunk' in values:
                kind = values['verdict'], NUMBER.sub('#', text)
                counts[kind] += 1
                worst[kind] = max(worst.get(kind, text), text, key=_numbers_in)
    return [
        f'{verdict} {count} x {worst[verdict, kind]}'
        for (verdict, kind), count in counts.most_common()
    ]


def _numbers_in(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]
