# SPDX-License-Identifier: Apache-2.0
"""Laws of the curve through a chunk's anchors."""

from itertools import pairwise
import time

from counts import FEW
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import pack
from xvla_ros.core.interpolation import Trajectory
from xvla_ros.core.quaternions import difference, product, slerp, turned

seeds = st.integers(0, 2**32 - 1)


def random_chunk(seed, count=6, layout='interleaved', pose=None):
    """Return a chunk of random poses of two arms, with grippers of every probability."""
    rng = np.random.default_rng(seed)
    matrices = Rotation.random(2 * count, random_state=rng.integers(2**31)).as_matrix()
    actions = np.zeros((count, 20))
    for i in range(count):
        for arm in (0, 1):
            half = actions[i, 10 * arm : 10 * (arm + 1)]
            half[:3] = rng.normal(size=3)
            columns = matrices[2 * i + arm][:, :2]
            half[3:9] = columns.reshape(6) if layout == 'interleaved' else columns.T.reshape(6)
            half[9] = rng.random()
    return Chunk(stamp_ns=10**9, period_s=0.05, actions=actions)


def rotation(pose):
    """Return the rotation of an interpolated pose."""
    return Rotation.from_quat(pose[3:7])


@FEW
@given(seeds, st.sampled_from(['interleaved', 'contiguous']))
def test_every_anchor_is_met_exactly_when_it_is_due(seed, layout):
    chunk = random_chunk(seed, layout=layout)
    curve = Trajectory(chunk, layout)
    for i, row in enumerate(chunk.actions):
        for arm, pose in enumerate(curve.at(chunk.due_ns(i))):
            half = row[10 * arm : 10 * (arm + 1)]
            np.testing.assert_allclose(pose[:3], half[:3], atol=1e-12)
            columns = rotation(pose).as_matrix()[:, :2]
            values = columns.reshape(6) if layout == 'interleaved' else columns.T.reshape(6)
            np.testing.assert_allclose(values, half[3:9], atol=1e-9)
            assert pose[7] == half[9]


@FEW
@given(seeds, st.floats(0, 1), st.integers(0, 4))
def test_rotation_stays_on_the_shorter_geodesic_and_the_gripper_steps(seed, share, index):
    chunk = random_chunk(seed)
    curve = Trajectory(chunk, 'interleaved')
    start, end = chunk.due_ns(index), chunk.due_ns(index + 1)
    a, b = curve.at(start)[0], curve.at(end)[0]
    pose = curve.at(int(start + share * (end - 1 - start)))[0]
    whole = (rotation(b) * rotation(a).inv()).magnitude()
    parts = [(rotation(b) * rotation(pose).inv()), (rotation(pose) * rotation(a).inv())]
    assert sum(part.magnitude() for part in parts) == pytest.approx(whole, abs=1e-6)
    assert whole <= np.pi + 1e-9
    assert pose[7] == a[7]
    assert np.linalg.norm(pose[3:7]) == pytest.approx(1, abs=1e-12)


@FEW
@given(seeds)
def test_position_has_no_step_in_velocity_or_acceleration_and_comes_to_rest(seed):
    chunk = random_chunk(seed)
    curve = Trajectory(chunk, 'interleaved')
    h = 1000  # ns
    for i in range(len(chunk.actions)):
        t = chunk.due_ns(i)
        x = np.array([curve.at(t + k * h)[0][:3] for k in (-2, -1, 0, 1, 2)])
        before, after = (x[2] - x[0]) / (2e-9 * h), (x[4] - x[2]) / (2e-9 * h)
        jump = np.abs(after - before).max()
        limit = 1.0 if i < len(chunk.actions) - 1 else 2.0
        assert jump < limit, 'the slope differs by more than curvature explains'
    assert curve.at(chunk.end_ns) == curve.at(chunk.end_ns + 10**9)
    end = np.array([curve.at(chunk.end_ns - k * h)[0][:3] for k in (1, 0)])
    assert np.abs(np.diff(end, axis=0)).max() / (1e-9 * h) < 0.5


def test_before_the_first_anchor_motion_is_straight_for_one_period(line):
    chunk = line(stamp_ns=0, period_s=0.1)
    curve = Trajectory(chunk, 'interleaved')
    first = curve.at(chunk.due_ns(0))[0]
    earlier = curve.at(chunk.due_ns(0) - 50_000_000)[0]
    assert first[0] - earlier[0] == pytest.approx(0.1 * 0.05, abs=1e-4)
    assert curve.at(-(10**9)) == curve.at(0)


def test_a_single_anchor_is_a_pose_at_all_times(line):
    chunk = line(count=1)
    curve = Trajectory(chunk, 'interleaved')
    assert curve.at(0) == curve.at(chunk.due_ns(0)) == curve.at(10**12)


@given(seeds)
def test_the_sign_of_a_quaternion_means_nothing(seed):
    rng = np.random.default_rng(seed)
    a, b = (tuple(q) for q in Rotation.random(2, random_state=seed % 2**31).as_quat())
    u = rng.random()
    minus = tuple(-x for x in b)
    np.testing.assert_allclose(slerp(a, b, u), slerp(a, minus, u), atol=1e-12)
    np.testing.assert_allclose(difference(a, b), difference(a, minus), atol=1e-9)
    np.testing.assert_allclose(np.abs(np.dot(turned(a, difference(a, b)), b)), 1, atol=1e-12)
    expected = (Rotation.from_quat(a) * Rotation.from_quat(b)).as_quat()
    assert abs(np.dot(product(a, b), expected)) == pytest.approx(1, abs=1e-12)


def test_values_that_are_not_finite_make_no_curve(line):
    chunk = line()
    actions = chunk.actions.copy()
    actions[3, 5] = np.inf
    with pytest.raises(ValueError, match='not finite'):
        Trajectory(Chunk(stamp_ns=0, period_s=0.1, actions=actions), 'interleaved')


def test_one_evaluation_costs_less_than_100_microseconds(pose):
    rows = [pack([pose(x=0.4 + 0.01 * i)] * 2, 'interleaved') for i in range(30)]
    chunk = Chunk(stamp_ns=0, period_s=0.05, actions=np.stack(rows))
    curve = Trajectory(chunk, 'interleaved')
    times = []
    for _ in range(20):
        start = time.thread_time()
        for k in range(100):
            curve.at(10_000_000 * k)
        times.append((time.thread_time() - start) / 100)
    assert min(times) < 100e-6


def test_a_chunk_tells_when_its_anchors_are_due(line):
    chunk = line(stamp_ns=5, count=3, period_s=0.1)
    assert [chunk.due_ns(i) for i in range(3)] == [100_000_005, 200_000_005, 300_000_005]
    assert chunk.end_ns == chunk.due_ns(2)
    assert all(b - a == chunk.period_ns for a, b in pairwise(map(chunk.due_ns, range(30))))


@pytest.mark.parametrize(
    ('actions', 'period_s'), [(np.zeros((0, 20)), 0.1), (np.zeros((3, 19)), 0.1),
                              (np.zeros(20), 0.1),
                              (np.zeros((3, 20)), 0.0), (np.zeros((3, 20)), np.nan)]
)  # fmt: skip
def test_what_is_no_chunk_cannot_be_made(actions, period_s):
    with pytest.raises(ValueError, match='chunk'):
        Chunk(stamp_ns=0, period_s=period_s, actions=actions)
