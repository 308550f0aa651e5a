# SPDX-License-Identifier: Apache-2.0
"""A path with its velocities: cubics through it stay on it and end at rest."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
from scipy.interpolate import CubicHermiteSpline

from xvla_ros.control.joint_path import path_velocities

PERIOD_S = 0.02
PATHS = st.integers(3, 12).flatmap(
    lambda count: arrays(float, (count, 3), elements=st.floats(-3, 3))
)


def cubics(joints, first_s, start):
    """Return the curve that joint_trajectory_controller makes of a path, and its times."""
    speeds = path_velocities(joints, first_s, PERIOD_S)
    times = np.arange(len(joints)) * PERIOD_S
    return CubicHermiteSpline(times, joints, np.vstack([start, speeds])), times


@given(joints=PATHS, first_s=st.floats(0.005, 0.04))
@settings(max_examples=100, deadline=None)
def test_between_two_points_no_joint_leaves_their_interval(joints, first_s):
    speeds = path_velocities(joints, first_s, PERIOD_S)
    curve, times = cubics(joints[1:], PERIOD_S, speeds[0])
    for index, (a, b) in enumerate(pairwise(joints[1:])):
        between = curve(times[index] + np.linspace(0, PERIOD_S, 21))
        slack = 1e-9 + np.abs(b - a) * max(PERIOD_S / first_s - 1, 0)
        assert (between >= np.minimum(a, b) - slack).all()
        assert (between <= np.maximum(a, b) + slack).all()


@given(joints=PATHS)
@settings(max_examples=50, deadline=None)
def test_a_path_ends_at_rest(joints):
    speeds = path_velocities(joints, PERIOD_S, PERIOD_S)
    assert speeds.shape == joints[1:].shape
    assert not speeds[-1].any()


@given(speed=st.floats(-3, 3), first_s=st.floats(0.01, 0.04), count=st.integers(2, 9))
def test_an_even_motion_keeps_its_speed(speed, first_s, count):
    times = np.array([0.0, *(first_s + PERIOD_S * np.arange(count))])
    speeds = path_velocities(speed * times[:, None], first_s, PERIOD_S)
    np.testing.assert_allclose(speeds[:-1], speed, atol=1e-9)
