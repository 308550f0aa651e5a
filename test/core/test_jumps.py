# SPDX-License-Identifier: Apache-2.0
"""JumpWatch: a measured pose that no arm could have reached is a jump, however late it is seen."""

from hypothesis import given
from hypothesis import strategies as st

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.jumps import FASTEST_M_S, JumpWatch, LONGEST_S, SLACK_M

MOST_M = SLACK_M + FASTEST_M_S * LONGEST_S


def pose(x_m):
    return ArmPose(position=[x_m, 0.0, 0.3], quaternion=[1.0, 0.0, 0.0, 0.0], gripper=0.0)


def second_look(off_m, after_s):
    watch = JumpWatch(['arm'])
    assert not watch.look([pose(0.0)], 0)
    return watch.look([pose(off_m)], round(after_s * NANOSECONDS))


@given(st.floats(0.0, 5.0), st.floats(MOST_M + 1e-6, 2.0))
def test_a_jump_is_seen_however_late_one_looks(after_s, off_m):
    assert second_look(off_m, after_s).code == 'jump'


@given(st.floats(0.0, 5.0), st.floats(0.0, 1.0))
def test_what_an_arm_can_move_is_no_jump(after_s, share):
    reach_m = SLACK_M + FASTEST_M_S * min(after_s, LONGEST_S)
    assert not second_look(share * 0.999 * reach_m, after_s)


def test_the_first_look_after_forgetting_is_no_jump():
    watch = JumpWatch(['arm'])
    watch.look([pose(0.0)], 0)
    watch.forget()
    assert not watch.look([pose(1.0)], 1)
