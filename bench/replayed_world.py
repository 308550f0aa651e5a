# SPDX-License-Identifier: Apache-2.0
"""
A replayed policy in simulated time: the same world, answers and latencies for every client.

The tool should follow a smooth path; the scene shifts by 6 cm without notice; each answer prefers
one of several ways, 12 mm apart; answers take a log-normal time with hiccups. Nothing depends on
what a client does with an answer, so that clients differ by that alone.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ANCHORS = 30
CAMERA_AGE_S = 0.045
SHIFT_M = 0.06
MODE_M = 0.012
# Events by which the reaction time is measured; answers are older than 4 s in no client here.
EVENT_CHANNELS = 3
EVENT_GAP_S = 5.0
# Spread of the latency's logarithm; share of answers that hiccup, and by how much.
LATENCY_SPREAD = 0.02
HICCUP_SHARE = 0.03
HICCUP_S = 0.08


class ReplayedWorld:
    """One seed of the world: its path, its shifts, and the policy's answers."""

    def __init__(self, seed: int, duration_s: float, latency_s: float, period_s: float) -> None:
        """Draw all random values from the seed."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, round(1e6 * latency_s)]))
        self.period_s = period_s
        self.latency_s = latency_s
        self._amplitudes_m = rng.uniform(0.02, 0.05, (3, 3))
        self._rates = 2 * np.pi * rng.uniform(0.05, 0.3, (3, 3))
        self._phases = rng.uniform(0, 2 * np.pi, (3, 3))
        gaps_s = rng.uniform(4.0, 7.0, int(duration_s / 4) + 2)
        self._events_s = _event_times(rng, duration_s)
        self.shifts_s = np.cumsum(gaps_s)[np.cumsum(gaps_s) < duration_s - 4.0]
        self.shifts_m = self._draw_shifts(rng)
        self._modes_m = MODE_M * _directions(rng, 4)
        answers = int(duration_s / min(latency_s, 1.0)) + 10
        self._choices = rng.integers(0, len(self._modes_m), answers)
        hiccups_s = np.where(rng.random(answers) < HICCUP_SHARE, HICCUP_S, 0.0)
        jitter = np.exp(LATENCY_SPREAD * rng.normal(size=answers))
        self.latencies_s = latency_s * jitter + hiccups_s

    def _draw_shifts(self, rng: np.random.Generator) -> Array:
        """Return shifts (N, 3) of 6 cm each whose sum stays within 10 cm."""
        shifts, offset = [], np.zeros(3)
        while len(shifts) < len(self.shifts_s):
            shift = SHIFT_M * _directions(rng, 1)[0]
            if np.linalg.norm(offset + shift) < 0.1:
                shifts.append(shift)
                offset = offset + shift
        return np.array(shifts).reshape(-1, 3)

    def path(self, times_s: Array) -> Array:
        """Return the path (T, 3) without shifts [m]."""
        waves = np.sin(self._rates * times_s[:, None, None] + self._phases)
        return np.sum(self._amplitudes_m * waves, axis=2) + np.array([0.5, 0.0, 0.3])

    def offset(self, time_s: float) -> Array:
        """Return where the scene has shifted to (3,) [m]."""
        return self.shifts_m[self.shifts_s <= time_s].sum(axis=0)

    @property
    def events_s(self) -> Array:
        """
        Return when something happens that answers tell of by counting: (EVENT_CHANNELS, N) [s].

        In one channel events are so far apart that every client has told of one before the next.
        """
        return self._events_s

    def answer(self, ordinal: int, seen_s: float) -> tuple[Array, Array]:
        """
        Return the answer to what was seen at a time.

        :return: anchors (30, 3) [m], and per channel how many events had happened (3,).
        """
        times_s = seen_s + self.period_s * np.arange(1, ANCHORS + 1)
        anchors = self.path(times_s) + self._modes_m[self._choices[ordinal]]
        counts = np.sum(self._events_s <= seen_s, axis=1)
        return anchors + self.offset(seen_s), counts.astype(np.float64)


def _event_times(rng: np.random.Generator, duration_s: float) -> Array:
    """Return event times (EVENT_CHANNELS, N), evenly spread with a random phase each."""
    starts_s = np.arange(EVENT_GAP_S, duration_s - 2 * EVENT_GAP_S, EVENT_GAP_S)
    return starts_s + rng.uniform(0, 0.25 * EVENT_GAP_S, (EVENT_CHANNELS, len(starts_s)))


def _directions(rng: np.random.Generator, count: int) -> Array:
    """Return random unit vectors (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
