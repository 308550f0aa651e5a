# SPDX-License-Identifier: Apache-2.0
"""Compares a replay with its golden file, and plans with the recorded path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.bags.chunks import ChunkSaid
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.replay.results import CHANNELS, read_table, Table

# Targets repeat exactly on one machine; on another processor the network's sums differ in the last
# bits.
TOLERANCE = 1e-6
# Plans are compared with the robot at these times after the observation [s].
HORIZONS_S = (0.2, 0.5, 1.0, 2.0)
# A pose counts for a time if it was measured within this of it [s].
NEARBY_S = 0.1


def compare_targets(path: Path, golden: Path, tolerance: float = TOLERANCE) -> list[str]:
    """
    Return a sentence for each kind of difference from the golden targets; none if they agree.

    :param tolerance: largest difference of any number (metres, quaternion or opening).
    """
    if path.read_bytes() == golden.read_bytes():
        return []
    ours, theirs = read_table(path), read_table(golden)
    if ours.arms != theirs.arms:
        return [f'arms are {list(ours.arms)}, expected {list(theirs.arms)}']
    if len(ours.stamps_ns) != len(theirs.stamps_ns):
        return [f'{len(ours.stamps_ns)} targets, expected {len(theirs.stamps_ns)}']
    return [
        *_differing(ours, theirs, 'stamps_ns', 'stamp'),
        *_differing(ours, theirs, 'third', 'hold'),
        *_differing(ours, theirs, 'sequence', 'chunk'),
        *_apart(ours, theirs, tolerance),
    ]


def _differing(ours: Table, theirs: Table, field: str, name: str) -> list[str]:
    a, b = getattr(ours, field), getattr(theirs, field)
    rows = np.flatnonzero(a != b)
    if not len(rows):
        return []
    first = rows[0]
    return [
        f'{name} differs in {len(rows)} targets, first in row {first}: '
        f'{a[first]}, expected {b[first]}'
    ]


def _apart(ours: Table, theirs: Table, tolerance: float) -> list[str]:
    both = ~(np.isnan(ours.values) & np.isnan(theirs.values))
    apart = np.where(both, np.abs(ours.values - theirs.values), 0.0)
    wrong = ~(apart <= tolerance)  # NaN against a number is wrong too
    if not wrong.any():
        return []
    row, arm, channel = np.argwhere(wrong)[0]
    return [
        f'{int(wrong.any(axis=(1, 2)).sum())} of {len(apart)} targets differ by more than '
        f'{tolerance:g} (largest {np.nanmax(apart):.3g}), first in row {row}: '
        f'{ours.arms[arm]}.{CHANNELS[channel]} is {ours.values[row, arm, channel]:.9f}, '
        f'expected {theirs.values[row, arm, channel]:.9f}'
    ]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Path3d:
    """The path of an arm: stamps_ns (N,) ascending, poses (N, 7) x y z [m] qx qy qz qw."""

    stamps_ns: NDArray[np.int64]
    poses: NDArray[np.float64]

    def at(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the poses (M, 7) measured nearest to the times; NaN if none is near."""
        if not len(self.stamps_ns):
            return np.full((len(times_ns), 7), np.nan)
        after = np.searchsorted(self.stamps_ns, times_ns).clip(1, max(len(self.stamps_ns) - 1, 1))
        candidates = np.stack([after - 1, np.minimum(after, len(self.stamps_ns) - 1)])
        gaps = np.abs(self.stamps_ns[candidates] - times_ns)
        nearest = np.take_along_axis(candidates, gaps.argmin(axis=0)[None], axis=0)[0]
        poses: NDArray[np.float64] = self.poses[nearest].copy()
        poses[gaps.min(axis=0) > NEARBY_S * NANOSECONDS] = np.nan
        return poses


def open_loop_error(
    chunks: Table, paths: Sequence[Path3d], ends_ns: NDArray[np.int64]
) -> dict[str, dict[str, object]]:
    """
    Return the distance between plans and the recorded path, per horizon, over all arms.

    If the robot followed these plans, this is its tracking error. On a demonstration it is the
    difference between policy and demonstrator.

    :param ends_ns: (N,) ascending, when plans were dropped. Steps due after the first such time
        after their observation are left out and counted.
    """
    later = np.append(ends_ns, np.iinfo(np.int64).max)
    kept = chunks.third < later[np.searchsorted(ends_ns, chunks.stamps_ns, side='right')]
    after_s = (chunks.third - chunks.stamps_ns) / NANOSECONDS
    metres, degrees = [], []
    for index, path in enumerate(paths):
        planned, measured = chunks.values[:, index, :7], path.at(chunks.third)
        metres.append(np.linalg.norm(planned[:, :3] - measured[:, :3], axis=1))
        degrees.append(_turns(planned[:, 3:7], measured[:, 3:7]))
    errors = {}
    for horizon in HORIZONS_S:
        due = np.abs(after_s - horizon) <= _half_period(after_s) + 1e-9
        near = due & kept
        errors[f'{horizon:g} s'] = {
            'left_out': int((due & ~kept).sum()),
            **_figures(
                np.concatenate([each[near] for each in metres] or [np.empty(0)]),
                np.concatenate([each[near] for each in degrees] or [np.empty(0)]),
            ),
        }
    return errors


def largest_difference(chunks: Table, said: Sequence[ChunkSaid]) -> dict[str, object]:
    """
    Compare chunks with those that a live policy published for the same observations.

    :return: the number of published chunks, the number of those that answer a replayed
        observation, and the largest difference of any of their numbers (None without any).
    """
    recorded = {each.stamp_ns: each for each in said if each.chunk is not None}
    largest, matched = None, 0
    for stamp in np.unique(chunks.stamps_ns).tolist():
        each = recorded.get(stamp)
        rows = chunks.values[chunks.stamps_ns == stamp]
        if each is None or len(each.rows) != len(rows):
            continue
        matched += 1
        apart = _rows_apart(rows, each.rows)
        largest = apart if largest is None else max(largest, apart)
    return {'recorded': len(recorded), 'matched': matched, 'largest_difference': largest}


def _rows_apart(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Return the largest difference of steps (T, arms, 8); quaternions may differ in sign."""
    signs = np.sign(np.sum(ours[..., 3:7] * theirs[..., 3:7], axis=-1, keepdims=True))
    turned = theirs.copy()
    turned[..., 3:7] *= np.where(signs == 0, 1, signs)
    return float(np.nanmax(np.abs(ours - turned)))


def _half_period(after_s: NDArray[np.float64]) -> float:
    return float(after_s.min()) / 2 if len(after_s) else 0.0


def _turns(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles between quaternions (N, 4) [deg]; NaN if one is unknown."""
    turns = np.full(len(a), np.nan)
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if known.any():
        turn = Rotation.from_quat(a[known]).inv() * Rotation.from_quat(b[known])
        turns[known] = np.degrees(turn.magnitude())
    return turns


def _figures(metres: NDArray[np.float64], degrees: NDArray[np.float64]) -> dict[str, object]:
    known = np.isfinite(metres)
    if not known.any():
        return {'n': 0}
    return {
        'n': int(known.sum()),
        'position_mm_mean': round(1e3 * float(metres[known].mean()), 3),
        'position_mm_p95': round(1e3 * float(np.percentile(metres[known], 95)), 3),
        'rotation_deg_mean': round(float(np.nanmean(degrees)), 3),
    }
