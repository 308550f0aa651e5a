# SPDX-License-Identifier: Apache-2.0
"""How fast simulated time passes on a busy machine."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from xvla_ros.sim import pace as pace_module
from xvla_ros.sim.pace import LEAST_RATE, MOST_BEHIND_S, Pace, rate_for, TOLERATED_INFERENCE_S

shares = st.floats(0.0, 1.0)
seconds = st.floats(0.0, 100.0)


@given(seconds, shares)
def test_time_passes_no_faster_than_real_time_and_never_stops(inference_s, share):
    assert LEAST_RATE <= rate_for(inference_s, share) <= 1.0


@given(seconds)
def test_a_slow_model_on_an_idle_machine_does_not_slow_time_down(inference_s):
    assert rate_for(inference_s, 1.0) == 1.0


@given(st.floats(0.0, TOLERATED_INFERENCE_S), shares)
def test_a_fast_inference_does_not_slow_time_down(inference_s, share):
    assert rate_for(inference_s, share) == 1.0


@given(seconds, shares, shares)
def test_a_smaller_processor_share_never_makes_time_faster(inference_s, one, other):
    least, most = sorted((one, other))
    assert rate_for(inference_s, least) <= rate_for(inference_s, most)


def test_without_an_inference_time_passes_in_real_time():
    assert rate_for(math.nan, math.nan) == 1.0


class Wall:
    """A wall clock that advances only by `sleep` and `work`."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr(pace_module.time, 'perf_counter', lambda: self.now_s)
        monkeypatch.setattr(pace_module.time, 'sleep', self.work)

    def work(self, duration_s):
        self.now_s += duration_s


@pytest.fixture
def wall(monkeypatch):
    return Wall(monkeypatch)


def run(wall, work_s, rate=1.0, steps=100, period_s=0.01):
    """Return the real-time factor of steps that take `work_s` of wall time each."""
    pace, begun_s = Pace(period_s), wall.now_s
    pace.rate = rate
    for _ in range(steps):
        wall.work(work_s)
        pace.next_step()
    return steps * period_s / (wall.now_s - begun_s)


@pytest.mark.parametrize(
    ('work_s', 'rate', 'factor'), [(0.002, 1.0, 1.0), (0.002, 0.5, 0.5), (0.02, 1.0, 0.5)]
)
def test_time_passes_at_its_rate_unless_the_work_takes_longer(wall, work_s, rate, factor):
    # A delay of less than MOST_BEHIND_S is caught up once.
    assert run(wall, work_s, rate, steps=1000) == pytest.approx(factor, rel=0.01)


def test_a_long_delay_is_not_caught_up(wall):
    pace = Pace(0.01)
    wall.work(1.0)
    pace.next_step()
    begun_s = wall.now_s
    for _ in range(100):
        pace.next_step()
    assert wall.now_s - begun_s >= 1.0 - MOST_BEHIND_S
