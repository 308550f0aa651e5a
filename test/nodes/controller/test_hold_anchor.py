# SPDX-License-Identifier: Apache-2.0
"""HoldAnchor: an arm that was moved during a hold gets a new hold once, where it rests."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from xvla_ros.control.hold_anchor import BEHIND_M, HoldAnchor, LEAP_M, STILL_M, STILL_S
from xvla_ros.core.ee6d import ArmPose

PERIOD_S = 0.02


def pose(x_m):
    return ArmPose(position=[x_m, 0.0, 0.3], quaternion=[1.0, 0.0, 0.0, 0.0], gripper=0.0)


def watch(path_m, held_m=0.0):
    """Return `moved_m` at each step of a path along x, during a hold at `held_m`."""
    anchor = HoldAnchor()
    anchor.begin(pose(held_m))
    return [anchor.moved_m(pose(x), round(i * PERIOD_S * 1e9)) for i, x in enumerate(path_m)]


def test_an_arm_moved_by_hand_is_held_once_where_it_rests():
    led = np.linspace(0.0, 0.3, 50)
    said = watch([*led, *[0.3] * 100])
    anchored = np.flatnonzero(said)
    assert len(anchored) == 1
    assert anchored[0] * PERIOD_S <= 50 * PERIOD_S + STILL_S + 2 * PERIOD_S
    assert said[anchored[0]] == np.float64(0.3)


@given(st.lists(st.floats(-BEHIND_M, BEHIND_M), min_size=30, max_size=60))
def test_an_arm_near_its_target_keeps_its_hold(path_m):
    assert not any(watch(path_m))


def test_an_arm_that_still_moves_keeps_its_hold():
    assert not any(watch(0.05 + 3 * STILL_M * np.arange(200)))


def test_a_sagging_arm_gets_a_new_hold_only_once():
    sagging = np.repeat(0.03 * np.arange(1, 6), 40)  # at rest for 0.8 s after each step
    assert np.count_nonzero(watch(sagging)) == 1


def test_without_a_last_target_there_is_no_new_hold():
    anchor = HoldAnchor()
    assert not any(anchor.moved_m(pose(0.5), round(i * PERIOD_S * 1e9)) for i in range(100))


@given(st.floats(LEAP_M + 1e-6, 1.0), st.sampled_from([-1, 1]))
def test_an_arm_is_never_sent_to_where_its_pose_has_leapt(leap_m, side):
    assert not any(watch([*[0.0] * 5, *[side * leap_m] * 100]))
