# SPDX-License-Identifier: Apache-2.0
"""Laws of the committed motion: what a plan says of the anchors of other observations."""

from dataclasses import replace
from pathlib import Path

from counts import FULL
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.profile import ActionProfile
from xvla_ros.runtime.committed import CommittedMotion

CONFIG = Path(__file__).parents[2] / 'config'
FILES = {path.stem: load_embodiment(path) for path in sorted(CONFIG.glob('*.yaml'))}
EMBODIMENTS = {name: each for name, each in FILES.items() if not each.joint_space}
COUNT = 30
seeds = st.integers(0, 2**32 - 1)
seconds = st.floats(0.0, 5.0)
FEW = settings(max_examples=10_000 if FULL else 20)
firsts = st.integers(0, 1)
each_embodiment = pytest.mark.parametrize('name', EMBODIMENTS)


def with_first(embodiment, first):
    """Return an embodiment whose chunks begin so many periods after their observation."""
    return replace(embodiment, policy=replace(embodiment.policy, first_anchor_index=first))


def random_arms(embodiment, rng):
    return [
        ArmPose(
            position=rng.uniform(-0.5, 0.5, 3),
            quaternion=Rotation.random(random_state=rng).as_quat(),
            gripper=float(rng.integers(2)),
        )
        for _ in embodiment.arm_names
    ]


def random_plan(embodiment, rng):
    """Return a plan of random poses, in the base frame."""
    layout = embodiment.policy.rotation_6d_layout
    raw = np.stack([pack(random_arms(embodiment, rng), layout) for _ in range(COUNT)])
    return ActionProfile(embodiment).chunk(raw, int(rng.integers(0, 10 * NANOSECONDS)))


@each_embodiment
@FEW
@given(seed=seeds, late=st.integers(0, COUNT + 5), first=firsts)
def test_a_plan_seen_later_is_the_plan_shifted_until_it_is_over(name, seed, late, first):
    embodiment, rng = with_first(EMBODIMENTS[name], first), np.random.default_rng(seed)
    plan = random_plan(embodiment, rng)
    stamp_ns = plan.stamp_ns + late * plan.period_ns
    guess = CommittedMotion(embodiment).guess(plan, stamp_ns, COUNT)
    expected = ActionProfile(embodiment).raw(plan)[np.minimum(np.arange(COUNT) + late, COUNT - 1)]
    if late > COUNT - 1 + first:
        assert guess is None
    else:
        np.testing.assert_allclose(guess, expected, atol=2e-6)


def test_without_a_plan_nothing_is_guessed(franka):
    assert CommittedMotion(franka).guess(None, 0, COUNT) is None


@FEW
@given(seed=seeds, reach_s=seconds, late_s=seconds, most=st.integers(0, COUNT - 1), first=firsts)
def test_a_prefix_is_the_settled_beginning_of_the_guess(
    franka, seed, reach_s, late_s, most, first
):
    franka, rng = with_first(franka, first), np.random.default_rng(seed)
    plan, motion = random_plan(franka, rng), CommittedMotion(franka)
    stamp_ns = plan.stamp_ns + round(late_s * NANOSECONDS)
    prefix = motion.prefix(plan, stamp_ns, reach_s, most)
    whole = motion.guess(plan, stamp_ns, COUNT)
    settled_ns = min(stamp_ns + round(reach_s * NANOSECONDS), plan.end_ns)
    due_ns = stamp_ns + np.arange(first, COUNT + first) * plan.period_ns
    count = min(int((due_ns <= settled_ns).sum()), most) if reach_s else 0
    if count:
        assert np.array_equal(prefix, whole[:count])
    else:
        assert prefix is None


@pytest.mark.parametrize('change', [{'relative_position': True}, {'anchor_stride': 2}])
def test_what_cannot_be_told_is_neither_a_prefix_nor_a_warm_start(franka, line, change):
    other = replace(franka, policy=replace(franka.policy, **change))
    assert CommittedMotion(franka).prefix(line(), 0, 1.0, 29) is not None
    assert CommittedMotion(other).prefix(line(), 0, 1.0, 29) is None
    overrides = {f'policy.{key}': value for key, value in change.items()}
    with pytest.raises(ConfigError, match=r'policy.*warm_start_time is 0\.1.*expected 0'):
        load_embodiment(CONFIG / 'franka_sim.yaml', {**overrides, 'policy.warm_start_time': 0.1})


def test_nothing_is_commanded_without_a_plan_and_its_curve_with_one(franka, line):
    motion, chunk = CommittedMotion(franka), line()
    assert motion.commanded(None, 0) is None
    (arm,) = motion.commanded(chunk, chunk.due_ns(4))
    np.testing.assert_allclose(arm.position, chunk.actions[4, :3], atol=1e-9)
