# SPDX-License-Identifier: Apache-2.0
"""An answer keeps to the plan firmly up to the latency, then less and less."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from xvla_ros.core.inpainting import drawn_to_plan, plan_weights


def test_the_plan_is_firm_up_to_the_latency_and_then_fades():
    weights = plan_weights(0.1, 10, firm_s=0.25, fade_s=0.2)
    np.testing.assert_allclose(weights[:5], [1, 1, 0.75, 0.25, 0], atol=1e-9)
    assert not weights[5:].any()


def test_without_time_to_fade_the_answer_is_left_alone_at_once():
    assert plan_weights(0.1, 5, firm_s=0.2, fade_s=0.0).tolist() == [1, 1, 0, 0, 0]
    assert plan_weights(0.1, 5, firm_s=0.2, fade_s=0.0, first=0).tolist() == [1, 1, 1, 0, 0]


@given(firm_s=st.floats(0, 4), fade_s=st.floats(0, 4))
def test_answers_lie_between_themselves_and_the_plan_and_decide_their_grippers(firm_s, fade_s):
    answer, plan = np.zeros((30, 20)), np.ones((30, 20))
    weights = plan_weights(0.1, 30, firm_s, fade_s)
    mixed = drawn_to_plan(answer, plan, weights)
    np.testing.assert_allclose(mixed[:, 0], weights)
    assert (np.diff(weights) <= 0).all()
    assert set(mixed[:, 9]) <= {0.0, 1.0}
    assert (mixed[:, 19] == (weights == 1)).all()
