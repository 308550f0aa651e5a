# SPDX-License-Identifier: Apache-2.0
"""Following: when an arm counts as not following its targets, and when not."""

import numpy as np
import pytest

from xvla_ros.control.drivers import ArmStep
from xvla_ros.control.following import Following
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

PERIOD_S = 0.02
LAG_S = 0.3  # the default


def pose(x_m=0.0, turn_rad=0.0):
    half = turn_rad / 2
    return ArmPose(
        position=[x_m, 0.0, 0.0], quaternion=[0.0, 0.0, np.sin(half), np.cos(half)], gripper=0.0
    )


def follow(targets, measured, reachable=True, age_s=0.0, **limits):
    """
    Return the answer of `Following.check` at each step of one arm's motion.

    :param age_s: delay of the measurements; `measured` holds the poses in the order of arrival.
    """
    given = {f'limits.{name}': value for name, value in limits.items()}
    following = Following(load_embodiment(shared_file('config', 'franka_sim.yaml'), given))
    said = []
    for i, (target, at) in enumerate(zip(targets, measured, strict=True)):
        now_ns = round(i * PERIOD_S * 1e9)
        plan, stamp_ns = ArmStep(target=target, reachable=reachable), now_ns - round(age_s * 1e9)
        said.append(following.check([plan], [at], [stamp_ns], now_ns).text)
    return said


def ramp(steps=100, speed_m_s=0.5):
    return [pose(x_m=speed_m_s * PERIOD_S * i) for i in range(steps)]


@pytest.mark.parametrize('lag_s', [0.05, 0.1, 0.2])
def test_a_lagging_arm_is_no_fault_at_full_speed_or_when_it_stops(lag_s):
    targets = ramp()
    targets += [targets[-1]] * 50
    at, measured = 0.0, []
    for target in targets:
        at += (target.position[0] - at) * (1 - np.exp(-PERIOD_S / lag_s))
        measured.append(pose(x_m=at))
    assert not any(follow(targets, measured))


def delayed(measured, age_s):
    """Return poses as they arrive on a machine that delivers them late."""
    late = round(age_s / PERIOD_S)
    return [measured[max(i - late, 0)] for i in range(len(measured))]


@pytest.mark.parametrize('age_s', [0.1, 0.2, 0.4])
def test_late_poses_are_no_fault_while_the_arm_follows(age_s):
    """The arm lags by 0.2 s, its poses arrive later still."""
    targets = ramp()
    late = round(0.2 / PERIOD_S)
    measured = [targets[max(i - late, 0)] for i in range(len(targets))]
    assert not any(follow(targets, delayed(measured, age_s), age_s=age_s))


@pytest.mark.parametrize('age_s', [0.0, 0.1, 0.2])
def test_a_blocked_arm_is_reported_as_soon_as_its_poses_show_it(age_s):
    def first(said):
        return next(i for i, reason in enumerate(said) if reason)

    blocked = [pose()] * 200
    at_once = first(follow(ramp(200), blocked))
    assert first(follow(ramp(200), blocked, age_s=age_s)) <= at_once + round(age_s / PERIOD_S) + 1


def test_a_blocked_arm_is_reported_with_its_command_topic():
    said = follow(ramp(), [pose()] * 100)
    first = next(i for i, reason in enumerate(said) if reason)
    # 50 mm at 0.5 m/s, the allowed lag, the 0.2 s that a fault must last, and two periods
    assert first * PERIOD_S <= 0.1 + LAG_S + 0.2 + 0.04
    assert 'arm does not follow' in said[first]
    assert 'target_pose' in said[first]


def test_a_blocked_arm_with_targets_close_to_it_is_reported():
    """A policy that sees the arm at rest plans from its pose again and again."""
    said = follow([pose(x_m=0.06)] * 50, [pose()] * 50)
    assert any(said)


def test_a_blocked_wrist_is_reported():
    targets = [pose(turn_rad=0.02 * i) for i in range(100)]
    assert any(follow(targets, [pose()] * 100))
    assert not any(follow(targets, [pose()] * 100, max_following_error_rad=0.0))


def test_a_few_wrong_samples_are_no_fault():
    measured = [pose()] * 100
    for start in (20, 50):
        measured[start : start + 4] = [pose(x_m=0.4)] * 4
    assert not any(follow([pose()] * 100, measured))


def test_a_limit_of_zero_switches_the_check_off():
    assert not any(follow(ramp(), [pose()] * 100, max_following_error_m=0.0))


def test_a_target_out_of_reach_is_no_fault():
    assert not any(follow(ramp(), [pose()] * 100, reachable=False))
