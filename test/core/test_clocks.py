# SPDX-License-Identifier: Apache-2.0
"""Laws of the ticker and of the latency estimate."""

from itertools import pairwise
from threading import Event

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from xvla_ros.core.latency import LatencyEstimate
from xvla_ros.core.ticker import LatenessRecord, load_record, Ticker

MS = 1_000_000


class Clock:
    """A clock that only sleeping and working move."""

    def __init__(self):
        self.now_ns = 5 * MS

    def __call__(self):
        """Return the time."""
        return self.now_ns

    def sleep(self, seconds):
        """Move on."""
        self.now_ns += round(seconds * 1e9)


def run(work_ms, rate_hz=100.0, capacity=1000):
    """Run a ticker whose ticks take these times and return its record and deadlines."""
    clock, stop, seen = Clock(), Event(), []
    ticker = Ticker(rate_hz, clock_ns=clock, sleep=clock.sleep, capacity=capacity)
    work = iter(work_ms)

    def tick(deadline_ns):
        seen.append((deadline_ns, clock.now_ns))
        clock.now_ns += round(next(work, 0.0) * MS)
        if len(seen) > len(work_ms):
            stop.set()

    ticker.run(tick, stop)
    return ticker.record(), seen


@given(st.lists(st.floats(0, 45), max_size=40))
def test_deadlines_lie_on_one_grid_however_long_ticks_take(work_ms):
    record, seen = run(work_ms)
    assert np.all(np.diff(record.deadlines_ns) == 10 * MS)
    assert np.all(record.lateness_ns >= 0)
    for (before, _), (after, ran) in pairwise(seen):
        assert after > before
        assert 0 <= ran - after < 10 * MS, 'a late tick runs once, for the latest deadline'


def test_a_skipped_deadline_counts_with_the_tick_that_ran_next():
    record, seen = run([0.0, 33.0, 0.0, 0.0])
    assert len(seen) == 5
    np.testing.assert_array_equal(record.lateness_ns, np.array([0, 0, 23, 13, 3, 0, 0]) * MS)
    assert record.missed() == 2


def test_a_tick_late_together_with_the_twin_is_not_missed():
    due = np.arange(10) * 10 * MS
    late = np.zeros(10, dtype=np.int64)
    late[[2, 6]] = 8 * MS
    twin_late = np.zeros(10, dtype=np.int64)
    twin_late[2] = 7 * MS
    ours, twin = (
        LatenessRecord(deadlines_ns=due + shift, lateness_ns=values, period_ns=10 * MS)
        for shift, values in ((0, late), (3 * MS, twin_late))
    )
    assert ours.missed() == 2
    assert ours.missed(twin) == 1
    assert ours.missed_percent(twin) == pytest.approx(10.0)
    assert ours.max_ms == 8.0
    assert len(ours.between(20 * MS, 50 * MS).deadlines_ns) == 3


def test_a_record_survives_a_file(tmp_path):
    record, _ = run([1.0, 20.0, 3.0])
    record.save(tmp_path / 'ticks.npz')
    again = load_record(tmp_path / 'ticks.npz')
    np.testing.assert_array_equal(again.deadlines_ns, record.deadlines_ns)
    np.testing.assert_array_equal(again.lateness_ns, record.lateness_ns)
    assert again.period_ns == record.period_ns


def test_the_ring_keeps_the_latest_ticks():
    record, seen = run([0.0] * 20, capacity=8)
    np.testing.assert_array_equal(record.deadlines_ns, [due for due, _ in seen[-8:]])


def test_what_a_tick_raises_ends_the_loop():
    clock = Clock()

    def tick(deadline_ns):
        raise KeyError(deadline_ns)

    with pytest.raises(KeyError):
        Ticker(100.0, clock_ns=clock, sleep=clock.sleep).run(tick, Event())


@pytest.mark.parametrize('rate_hz', [0.0, -1.0, float('nan')])
def test_a_rate_must_be_positive(rate_hz):
    with pytest.raises(ValueError, match='positive rate'):
        Ticker(rate_hz)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=80))
def test_the_estimate_is_one_of_the_latencies_but_the_first(latencies):
    estimate = LatencyEstimate()
    for latency_s in latencies:
        estimate.observe(latency_s)
    assert estimate.first_s == latencies[0]
    assert estimate.value_s in latencies[1:][-64:]


def test_the_first_answer_pays_for_warm_up_and_counts_only_while_alone():
    estimate = LatencyEstimate()
    assert estimate.value_s is None
    estimate.observe(30.0)
    assert estimate.value_s == 30.0
    estimate.observe(0.1)
    assert estimate.value_s == 0.1
    estimate.reset()
    assert estimate.value_s is None


def test_one_slow_answer_is_forgotten():
    estimate = LatencyEstimate()
    for latency_s in (1.0, 0.1, 0.1, 2.0):
        estimate.observe(latency_s)
    assert estimate.value_s == 2.0
    for _ in range(30):
        estimate.observe(0.1)
    assert estimate.value_s == 0.1


@pytest.mark.parametrize('latency_s', [-0.1, float('nan'), float('inf')])
def test_a_latency_that_is_none_is_refused(latency_s):
    with pytest.raises(ValueError, match='latency'):
        LatencyEstimate().observe(latency_s)
