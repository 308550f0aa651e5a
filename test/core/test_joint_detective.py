# SPDX-License-Identifier: Apache-2.0
"""Laws of the checkpoint detective: right or undecided, never wrong."""

from dataclasses import replace
import math

from counts import FULL
from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from xvla_ros.control.urdf import joint_ranges
from xvla_ros.core.joint_detective import detect, hypotheses, Joint, misfits, MOVED_RAD
from xvla_ros.core.joint_units import UNITS
from xvla_ros.core.resources import shared_file

ARMS = {
    'franka': joint_ranges(shared_file('resource', 'robots/franka.urdf')),
    'widowx': joint_ranges(shared_file('resource', 'robots/widowx.urdf')),
    'piper': joint_ranges(shared_file('resource', 'robots/piper.urdf')),
    'ur5e': joint_ranges(shared_file('resource', 'robots/ur5e.urdf')),
}
# SO-101 (new_calib URDF of SO-ARM100), rad.
SO101 = [(-1.92, 1.92), (-1.745, 1.745), (-1.69, 1.69), (-1.658, 1.658), (-2.744, 2.841)]
seeds = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=10_000 if FULL else 100)


def arm(name):
    """Return an arm's joints, of which nothing is known yet."""
    if name == 'so101':
        return [Joint(name=f'j{i}', lower=a, upper=b) for i, (a, b) in enumerate(SO101)]
    return [Joint(name=n, lower=r.lower, upper=r.upper) for n, r in ARMS[name].items()][:6]


def recorded(joint, truth, rng, span):
    """Return a joint with the statistics of random motions, as a dataset would have them."""
    low, high = joint.lower, joint.upper
    if math.isinf(high - low):
        low, high = -math.pi, math.pi
    width = span * (high - low)
    begin = rng.uniform(low, high - width)
    q = rng.uniform(begin, begin + width, 50)
    values = truth.line.scale * q + truth.line.offset
    told = float(values.min()), float(values.max())
    return replace(joint, action=told, state=told), float(q[0]), float(np.ptp(q))


def motions(name, unit, seed, with_pose):
    """Return joints with statistics in a unit, the true readings, and the largest motion."""
    rng = np.random.default_rng(seed)
    joints, truths, moved = [], [], 0.0
    for joint in arm(name):
        truth = rng.choice([h for h in hypotheses(joint) if h.unit == unit] or [None])
        if truth is None:
            return None
        known, q, span = recorded(joint, truth, rng, rng.uniform(0.01, 1.0))
        joints.append(replace(known, measured_rad=q if with_pose else None))
        truths.append(truth)
        moved = max(moved, span)
    return joints, truths, moved


every_arm = pytest.mark.parametrize('name', ['so101', *ARMS])


@every_arm
@MANY
@given(unit=st.sampled_from(UNITS), seed=seeds, with_pose=st.booleans())
def test_it_finds_the_truth_or_says_undecided(name, unit, seed, with_pose):
    made = motions(name, unit, seed, with_pose)
    assume(made is not None)
    joints, truths, moved = made
    found = detect(joints)
    if moved < MOVED_RAD:
        assert unit in (*found.units, *found.still)
        return
    assert unit in found.units
    assert found.unit in (unit, None)
    for truth, finding in zip(truths, found.joints, strict=True):
        assert truth in finding.fitting
        assert finding.decided in (truth, None)
    assert not misfits(joints, [truth.line for truth in truths])


@every_arm
@MANY
@given(seed=seeds)
def test_radians_and_degrees_are_told_apart(name, seed):
    for unit, other in (('rad', 'deg'), ('deg', 'rad')):
        joints, _, moved = motions(name, unit, seed, False)
        assume(moved >= 1.0)
        assert other not in detect(joints).units
        wrong = [h.line for j in joints for h in hypotheses(j) if str(h) == other]
        assert misfits(joints, wrong)


def test_the_data_of_an_so101_in_degrees_is_known():
    """Two standard deviations of smolvla_base's statistics around the middle, in degrees."""
    spreads = [26.4, 52.4, 45.0, 37.0, 59.4]
    pairs = zip(arm('so101'), spreads, strict=True)
    joints = [replace(joint, action=(-2 * s, 1.5 * s)) for joint, s in pairs]
    found = detect(joints)
    assert found.unit == 'deg'
    plain = [h.line for j in joints for h in hypotheses(j) if str(h) == 'rad']
    wrong = misfits(joints, plain)
    assert set(wrong) == {j.name for j in joints}
    assert 'by its table the data is -52.80 to 39.60 rad' in wrong['j0']
    assert 'what would fit: deg' in wrong['j0']


def test_a_pose_tells_the_sign():
    (joint,) = arm('so101')[:1]
    joint = replace(joint, action=(20.0, 100.0), state=(20.0, 100.0))
    assert detect([joint]).joints[0].decided is None
    there = detect([replace(joint, measured_rad=-1.6)]).joints[0]
    assert {h.sign for h in there.fitting} == {-1}


def test_swapped_joints_are_named():
    """The elbow's numbers at the base's place lie outside what the base can do."""
    one = Joint(name='base', lower=-0.5, upper=0.5, action=(-100.0, 90.0))
    two = Joint(name='elbow', lower=-2.0, upper=2.0, action=(-25.0, 25.0))
    degrees = [h.line for j in (one, two) for h in hypotheses(j) if str(h) == 'deg']
    assert list(misfits([one, two], degrees)) == ['base']


def test_without_statistics_nothing_is_said():
    joints = arm('franka')
    found = detect(joints)
    assert (found.units, found.still) == ((), ())
    assert not misfits(joints, [hypotheses(j)[0].line for j in joints])
