# SPDX-License-Identifier: Apache-2.0
"""Laws of the gripper: polarity, threshold, hysteresis, dwell."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from xvla_ros.core.arm_settings import GripperSettings
from xvla_ros.core.gripper import (
    GripperFilter,
    measured_opening,
)

SECOND = 1_000_000_000


def gripper(**changes):
    """Return a gripper that closes at 0.5, opens below 0.4, and changes once in 0.3 s."""
    values = {
        'closed_probability': 1.0, 'threshold': 0.5, 'hysteresis': 0.1, 'dwell_s': 0.3,
        'joint_names': ('finger',), 'open_position': 0.04, 'closed_position': 0.0,
        'driver': 'float64_array', 'command_topic': 'gripper',
        'command_open': 0.08, 'command_closed': -0.01,
    }  # fmt: skip
    return GripperSettings(**{**values, **changes})


probabilities = st.floats(0, 1) | st.sampled_from([math.nan, math.inf, -math.inf])
steps = st.lists(st.tuples(probabilities, st.integers(0, SECOND)), min_size=1, max_size=60)


@given(steps, st.floats(0.0, 2.0))
def test_two_changes_are_never_closer_than_the_dwell(steps, dwell_s):
    filtered = GripperFilter(gripper(dwell_s=dwell_s))
    now, last, changed = 0, None, None
    for probability, gap in steps:
        now += gap
        opening = filtered.update(probability, now)
        assert opening in (0.0, 1.0) or math.isnan(opening)
        if last is not None and opening != last:
            assert changed is None or now - changed >= dwell_s * SECOND
            changed = now
        elif last is None and not math.isnan(opening):
            changed = now
        last = None if math.isnan(opening) else opening


@given(steps)
def test_the_polarity_only_mirrors(steps):
    one, zero = (GripperFilter(gripper(closed_probability=c)) for c in (1.0, 0.0))
    now = 0
    for probability, gap in steps:
        now += gap
        p = probability if not math.isfinite(probability) else round(8 * probability) / 8
        assert str(one.update(p, now)) == str(zero.update(1 - p, now))


def test_between_the_two_thresholds_nothing_changes():
    filtered = GripperFilter(gripper(dwell_s=0.0))
    openings = [filtered.update(p, i) for i, p in enumerate((0.45, 0.49, 0.5, 0.41, 0.4, 0.39))]
    assert openings == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def test_unknown_probabilities_decide_nothing():
    filtered = GripperFilter(gripper())
    assert math.isnan(filtered.update(math.nan, 0))
    assert filtered.update(0.9, SECOND) == 0.0
    assert filtered.update(math.nan, 2 * SECOND) == 0.0


def test_a_measured_opening_sets_the_decision():
    filtered = GripperFilter(gripper())
    filtered.reset(opening=0.1, now_ns=SECOND)
    assert filtered.update(0.45, SECOND) == 0.0
    filtered.reset(opening=0.9, now_ns=SECOND)
    assert filtered.update(0.45, SECOND) == 1.0
    filtered.reset()
    assert math.isnan(filtered.update(math.nan, SECOND))


@given(st.floats(0, 1))
def test_openings_survive_the_finger_joint(opening):
    settings = gripper()
    assert measured_opening(settings, 0.04 * opening) == pytest.approx(opening, abs=1e-9)


def test_fingers_beyond_their_range_are_open_or_closed():
    assert measured_opening(gripper(), 0.05) == 1.0
    assert measured_opening(gripper(), -0.001) == 0.0
