# SPDX-License-Identifier: Apache-2.0
"""An arm that does not go where it is told: what counts as that, and what does not."""

import numpy as np
import pytest

from xvla_ros.control.drivers import Plan
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.nodes.controller_following import Following

PERIOD_S = 0.02
LAG_S = 0.3  # the default


def pose(x_m=0.0, turn_rad=0.0):
    half = turn_rad / 2
    return ArmPose(
        position=[x_m, 0.0, 0.0], quaternion=[0.0, 0.0, np.sin(half), np.cos(half)], gripper=0.0
    )


def follow(targets, measured, reachable=True, **limits):
    """Return what is said at each step of one arm's motion."""
    given = {f'limits.{name}': value for name, value in limits.items()}
    following = Following(load_embodiment(shared_file('config', 'franka_sim.yaml'), given))
    return [
        following.check(
            [Plan(target=target, reachable=reachable)], [at], round(i * PERIOD_S * 1e9)
        )
        for i, (target, at) in enumerate(zip(targets, measured, strict=True))
    ]


def ramp(steps=100, speed_m_s=0.5):
    return [pose(x_m=speed_m_s * PERIOD_S * i) for i in range(steps)]


@pytest.mark.parametrize('lag_s', [0.05, 0.1, 0.2])
def test_a_first_order_lag_at_full_speed_is_no_fault_nor_is_the_stop_after_it(lag_s):
    targets = ramp()
    targets += [targets[-1]] * 50
    at, measured = 0.0, []
    for target in targets:
        at += (target.position[0] - at) * (1 - np.exp(-PERIOD_S / lag_s))
        measured.append(pose(x_m=at))
    assert not any(follow(targets, measured))


def test_a_blocked_arm_is_named_soon():
    said = follow(ramp(), [pose()] * 100)
    first = next(i for i, reason in enumerate(said) if reason)
    # 50 mm at 0.5 m/s, the lag, the glitch and two ticks
    assert first * PERIOD_S <= 0.1 + LAG_S + 0.2 + 0.04
    assert 'arm does not follow' in said[first]
    assert 'target_pose' in said[first]


def test_a_slow_push_that_never_gets_far_ahead_is_found_too():
    """A policy that sees the arm stand still plans from there again and again."""
    said = follow([pose(x_m=0.06)] * 50, [pose()] * 50)
    assert any(said)


def test_a_blocked_wrist_is_named():
    targets = [pose(turn_rad=0.02 * i) for i in range(100)]
    assert any(follow(targets, [pose()] * 100))
    assert not any(follow(targets, [pose()] * 100, max_following_error_rad=0.0))


def test_one_wrong_sample_is_no_fault():
    measured = [pose()] * 100
    for start in (20, 50):
        measured[start : start + 4] = [pose(x_m=0.4)] * 4
    assert not any(follow([pose()] * 100, measured))


def test_zero_switches_it_off():
    assert not any(follow(ramp(), [pose()] * 100, max_following_error_m=0.0))


def test_what_the_driver_cannot_reach_is_not_expected():
    assert not any(follow(ramp(), [pose()] * 100, reachable=False))
