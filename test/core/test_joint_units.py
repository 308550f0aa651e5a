# SPDX-License-Identifier: Apache-2.0
"""Laws of the units of joints: inverse, and equal to LeRobot's own formulas."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_units import (
    calibrated_line,
    Calibration,
    Line,
    read_calibration,
    unit_line,
    UNITS,
)

angles = st.floats(-math.pi, math.pi)
signs = st.sampled_from([-1, 1])
units = st.sampled_from(UNITS)
ranges = st.tuples(st.floats(-6.0, -0.1), st.floats(0.1, 6.0))
ticks = st.integers(0, 4095)
sweeps = st.tuples(st.integers(0, 1900), st.integers(2100, 4095))


@given(unit=units, limits=ranges, sign=signs, zero=angles, q=angles)
def test_a_line_and_its_inverse_give_the_position_back(unit, limits, sign, zero, q):
    line = unit_line(unit, limits, sign, zero)
    assert line.to_robot(line.to_model(q)) == pytest.approx(q, abs=1e-12)


@given(limits=ranges, sign=signs, zero=angles, q=angles)
def test_a_unit_says_what_its_name_says(limits, sign, zero, q):
    assert unit_line('rad', limits, sign, zero).to_model(q) == pytest.approx(sign * (q - zero))
    degrees = sign * math.degrees(q - zero)
    assert unit_line('deg', limits, sign, zero).to_model(q) == pytest.approx(degrees, abs=1e-9)
    line = unit_line('range100', limits, sign, zero)
    ends = sorted(line.to_model(end) for end in limits)
    assert ends == pytest.approx([-100, 100])
    assert (line.to_model(limits[1]) > 0) == (sign > 0)


def lerobot(unit, motor, tick):
    """LeRobot 0.6.1, motors/motors_bus.py, _normalize."""
    low, high = motor.range_min, motor.range_max
    if unit == 'deg':
        return (tick - (low + high) / 2) * 360 / 4095
    norm = (min(high, max(low, tick)) - low) / (high - low) * 200 - 100
    return -norm if motor.inverted else norm


@given(
    unit=st.sampled_from(['deg', 'range100']),
    sweep=sweeps,
    inverted=st.booleans(),
    zero=ticks,
    sign=signs,
    share=st.floats(0, 1),
)
def test_a_calibrated_line_is_lerobots_formula(unit, sweep, inverted, zero, sign, share):
    motor = Calibration(range_min=sweep[0], range_max=sweep[1], inverted=inverted)
    tick = round(sweep[0] + share * (sweep[1] - sweep[0]))
    q = sign * (tick - zero) * 2 * math.pi / 4096
    line = calibrated_line(unit, motor, zero, sign)
    assert line.to_model(q) == pytest.approx(lerobot(unit, motor, tick), abs=1e-9)
    assert line.to_robot(line.to_model(q)) == pytest.approx(q, abs=1e-12)


def test_a_calibration_file_is_read():
    data = {'elbow_flex': {'id': 3, 'drive_mode': 1, 'homing_offset': 5, 'range_min': 900}}
    data['elbow_flex']['range_max'] = 3000
    (motor,) = read_calibration(data, 'f').values()
    assert (motor.middle, motor.inverted) == (1950.0, True)


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        ([], 'f: expected an object'),
        ({'a': {'range_min': 1}}, 'f: a: expected range_min and range_max'),
        ({'a': 7}, 'f: a: expected range_min'),
        ({'a': {'range_min': 9, 'range_max': 9}}, 'expected ticks, rising'),
        ({'a': {'range_min': 1.5, 'range_max': 9}}, 'expected ticks, rising'),
    ],
)
def test_another_file_is_refused(data, words):
    with pytest.raises(ConfigError, match=words):
        read_calibration(data, 'f')


@pytest.mark.parametrize('limits', [(0.0, 0.0), (-math.inf, math.inf)])
def test_a_range_that_is_none_is_refused(limits):
    with pytest.raises(ConfigError, match='needs a range'):
        unit_line('range100', limits)
    with pytest.raises(ConfigError, match='unit'):
        unit_line('gon')
    with pytest.raises(ValueError, match='cannot be inverted'):
        Line(scale=0.0)
