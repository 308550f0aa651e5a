# SPDX-License-Identifier: Apache-2.0
"""Laws of the chunk queue: clocks, joints, ends."""

from counts import FEW
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.curves import Fade, Hold
from xvla_ros.core.ee6d import pack
from xvla_ros.core.interpolation import arm_to_pose, Trajectory

MS = 1_000_000
STRATEGIES = ('replace', 'blend', 'ensemble', 'inpaint')
seeds = st.integers(0, 2**32 - 1)


def bent(line, seed, stamp_ns, count=20):
    """Return a chunk whose anchors wander smoothly from the line."""
    rng = np.random.default_rng(seed)
    chunk = line(stamp_ns=stamp_ns, count=count)
    actions = chunk.actions.copy()
    actions[:, :3] += np.cumsum(rng.normal(scale=0.005, size=(count, 3)), axis=0)
    return Chunk(stamp_ns=stamp_ns, period_s=0.1, actions=actions, sequence=chunk.sequence)


def position(targets):
    """Return the first arm's position."""
    return targets[0].position


@pytest.mark.parametrize('first', [0, 1])
@pytest.mark.parametrize('strategy', STRATEGIES)
def test_a_chunk_is_met_exactly_when_its_anchors_are_due(line, strategy, first):
    queue, chunk = ChunkQueue(strategy=strategy), line(stamp_ns=7, first=first)
    assert chunk.due_ns(0) == 7 + first * 100 * MS
    assert queue.take(7) is None
    assert queue.put(chunk, 7)
    for i, row in enumerate(chunk.actions):
        (target,) = queue.take(chunk.due_ns(i))
        np.testing.assert_allclose(target.position, row[:3], atol=1e-12)
        assert target.gripper == row[9]


def test_a_late_chunk_is_entered_where_time_is(line):
    queue, chunk = ChunkQueue(), line(stamp_ns=0)
    now = chunk.due_ns(12)
    queue.put(chunk, now)
    np.testing.assert_allclose(position(queue.take(now)), chunk.actions[12, :3], atol=1e-12)
    assert queue.remaining_s(now) == pytest.approx(1.7)


def test_a_plan_that_nothing_replaces_rests_at_its_end_and_then_there_is_none(line):
    queue, chunk = ChunkQueue(), line()
    queue.put(chunk, 0)
    steps = []
    for k in range(400):
        targets = queue.take(k * 10 * MS)
        if targets is None:
            break
        steps.append(position(targets))
    assert k == chunk.end_ns // (10 * MS) + 1
    speeds = np.linalg.norm(np.diff(steps, axis=0), axis=1) / 0.01
    assert speeds[-1] < 0.02
    assert speeds.max() < 0.2
    assert queue.take(10**12) is None
    assert queue.remaining_s(10**12) == 0


def test_a_chunk_later_than_its_own_end_moves_nothing(line):
    queue = ChunkQueue()
    chunk = line()
    assert not queue.put(chunk, chunk.end_ns)
    assert queue.refused == {'past': 1}
    assert queue.take(chunk.end_ns) is None


def test_an_answer_to_an_older_observation_is_refused(line):
    queue = ChunkQueue()
    queue.put(line(stamp_ns=100 * MS), 200 * MS)
    before = queue.take(300 * MS)
    assert not queue.put(line(stamp_ns=99 * MS, start=(0, 0, 0)), 300 * MS)
    assert not queue.put(line(stamp_ns=100 * MS, start=(0, 0, 0)), 300 * MS)
    assert queue.refused == {'older': 2}
    np.testing.assert_array_equal(position(queue.take(300 * MS)), position(before))


def test_answers_under_way_when_the_instruction_changes_are_refused(line):
    queue = ChunkQueue()
    queue.put(line(stamp_ns=0), 0)
    queue.clear(not_before_ns=500 * MS)
    assert queue.take(500 * MS) is None
    assert not queue.put(line(stamp_ns=499 * MS), 600 * MS)
    assert queue.put(line(stamp_ns=500 * MS), 600 * MS)


def test_chunks_that_are_none_are_refused_and_counted(line, pose):
    queue = ChunkQueue()
    chunk = line(stamp_ns=0)
    for value in (np.nan, np.inf):
        actions = chunk.actions.copy()
        actions[4, 4] = value
        assert not queue.put(Chunk(stamp_ns=1, period_s=0.1, actions=actions), 0)
    actions = chunk.actions.copy()
    actions[4, 3:9] = 0.0
    assert not queue.put(Chunk(stamp_ns=1, period_s=0.1, actions=actions), 0)
    assert queue.put(chunk, 0)
    both = np.stack([pack([pose(), pose()], 'interleaved')] * 5)
    assert not queue.put(Chunk(stamp_ns=2, period_s=0.1, actions=both), 0)
    assert queue.refused == {'non_finite': 3, 'arms': 1}


@FEW
@given(st.lists(st.integers(0, 4_000), min_size=2, max_size=30), seeds)
def test_time_never_runs_backwards(line, times_ms, seed):
    """An earlier time reads as the latest one seen, through takes, puts and clears."""
    queue, latest = ChunkQueue(), 0
    queue.put(bent(line, seed, 0), 0)
    for index, time_ms in enumerate(times_ms):
        if index % 5 == 3:
            queue.put(bent(line, seed + index, time_ms * MS), time_ms * MS)
        latest = max(latest, time_ms)
        now, then = queue.take(time_ms * MS), queue.take(latest * MS)
        assert (now is None) == (then is None)
        if now is not None:
            np.testing.assert_array_equal(position(now), position(then))


@FEW
@given(seeds, st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_the_same_calls_give_the_same_bits(line, seed, gaps):
    def run():
        queue, now, out = ChunkQueue(), 0, []
        for index, gap in enumerate(gaps):
            now += gap * 10 * MS
            queue.put(bent(line, seed + index, now - 50 * MS), now)
            out.extend(x for x in (queue.take(now + k * MS) for k in (1, 9)) if x)
        return [(t[0].position.tobytes(), t[0].quaternion.tobytes(), t[0].gripper) for t in out]

    assert run() == run()


@FEW
@given(seeds, st.lists(st.integers(20, 500), min_size=2, max_size=6))
def test_blending_never_steps_however_fast_chunks_come(line, seed, gaps_ms):
    """Position, velocity and acceleration pass every joint, also inside fades under way."""
    queue, now, h = ChunkQueue(blend_s=0.25), 0, MS
    queue.put(bent(line, seed, 0), 0)
    for index, gap_ms in enumerate(gaps_ms):
        now += gap_ms * MS
        curve_before = queue._curve
        queue.put(bent(line, seed + index + 1, now - 30 * MS), now)
        curve_after = queue._curve
        for k in (0, 1, 2):
            old = np.array(curve_before.at(now + k * h)[0][:7])
            new = np.array(curve_after.at(now + k * h)[0][:7])
            # The weight grows as 10 (t / 0.25 s)^3: 5e-6 after 2 ms.
            assert np.abs(new - old).max() <= 1e-5 * (k > 0) + 1e-12


def test_a_fade_starts_from_the_curve_commanded_and_not_from_the_last_plan(line):
    """Restarting each fade at the last raw plan gave 21 times the jerk."""
    queue = ChunkQueue(blend_s=0.4)
    queue.put(line(stamp_ns=0), 0)
    queue.put(line(stamp_ns=1, start=(0.5, 0.1, 0.3)), 100 * MS)
    middle = position(queue.take(300 * MS))
    assert 0.04 < middle[1] < 0.06
    queue.put(line(stamp_ns=2, start=(0.5, 0.2, 0.3)), 300 * MS)
    np.testing.assert_allclose(position(queue.take(300 * MS)), middle, atol=1e-12)
    end = position(queue.take(710 * MS))
    assert end[1] == pytest.approx(0.2, abs=1e-9)


def test_blending_turns_the_shorter_way_whatever_the_sign(line, pose):
    queue = ChunkQueue(blend_s=0.2)
    for stamp, angle in ((0, np.pi - 0.05), (1, np.pi + 0.05)):
        rows = [pack([pose(turn=(angle, 0, 0))], 'interleaved')] * 20
        queue.put(Chunk(stamp_ns=stamp, period_s=0.1, actions=np.stack(rows)), 100 * MS)
    for k in range(100, 310, 10):
        turn = Rotation.from_quat(queue.take(k * MS)[0].quaternion)
        assert (turn * Rotation.from_rotvec((np.pi, 0, 0)).inv()).magnitude() < 0.0501


def test_the_gripper_is_never_a_mean(line):
    queue = ChunkQueue()
    queue.put(line(stamp_ns=0), 0)
    queue.put(line(stamp_ns=1), 100 * MS)
    assert {queue.take(k * 10 * MS)[0].gripper for k in range(10, 250)} == {0.0, 1.0}


def test_replacing_steps_and_ensembling_averages(line):
    first, second = line(stamp_ns=0), line(stamp_ns=1, start=(0.5, 0.1, 0.3))
    for strategy, expected in (('replace', 0.1), ('ensemble', 0.05)):
        queue = ChunkQueue(strategy=strategy, ensemble_decay=0.0)
        queue.put(first, 0)
        queue.take(100 * MS)
        queue.put(second, 200 * MS)
        assert position(queue.take(200 * MS))[1] == pytest.approx(expected, abs=1e-9)


def test_an_ensemble_weighs_older_plans_as_act_does(line):
    """ACT, algorithm 2: exp(-m i), i = 0 the oldest."""
    queue = ChunkQueue(strategy='ensemble', ensemble_decay=0.5)
    for i, y in enumerate((0.0, 0.1, 0.3)):
        queue.put(line(stamp_ns=i, start=(0.5, y, 0.3)), 100 * MS)
    weights = np.exp(-0.5 * np.arange(3))
    expected = weights @ [0.0, 0.1, 0.3] / weights.sum()
    assert position(queue.take(500 * MS))[1] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('before', STRATEGIES)
@pytest.mark.parametrize('after', STRATEGIES)
def test_changing_the_strategy_in_motion_never_steps(line, before, after):
    queue = ChunkQueue(strategy=before)
    queue.put(line(stamp_ns=0), 0)
    queue.put(line(stamp_ns=1), 100 * MS)
    queue.set_strategy(after)
    assert queue.strategy == after
    last = position(queue.take(600 * MS))
    queue.put(line(stamp_ns=2, start=(0.5, 0.2, 0.3)), 600 * MS)
    if before != after:
        step = np.linalg.norm(position(queue.take(601 * MS)) - last)
        assert step < 1e-3


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match=r"'blended'.*blend"):
        ChunkQueue(strategy='blended')
    with pytest.raises(ValueError, match='expected one of'):
        ChunkQueue().set_strategy('none')


@pytest.mark.parametrize('early', [True, False])
def test_engaging_ramps_from_where_the_tool_is(line, pose, early):
    """From rest, to the plan there is or to the one that comes, over engage_s."""
    queue, plan = ChunkQueue(engage_s=0.5), line(stamp_ns=0, count=40)
    measured = pose(x=0.45, y=0.05)
    if not early:
        queue.put(plan, 0)
    queue.engage([measured], 1000 * MS)
    if early:
        assert queue.take(1000 * MS) is None or True
        queue.put(plan, 1000 * MS)
    np.testing.assert_allclose(position(queue.take(1000 * MS)), measured.position, atol=1e-12)
    first = np.linalg.norm(position(queue.take(1010 * MS)) - measured.position)
    assert first < 1e-4
    target = Trajectory(plan, 'interleaved').at(1500 * MS)[0]
    np.testing.assert_allclose(position(queue.take(1500 * MS)), target[:3], atol=1e-9)


@pytest.mark.parametrize('strategy', STRATEGIES)
@FEW
@given(
    aside_m=st.sampled_from((0.0, 0.02, -0.05)),
    others=st.lists(st.sampled_from(STRATEGIES), max_size=8),
    gaps_ms=st.lists(st.integers(1, 150), min_size=1, max_size=8),
)
def test_the_ramp_outlasts_the_chunks_that_come_meanwhile(
    line, pose, strategy, aside_m, others, gaps_ms
):
    """Of what a chunk changes it lets through its share; the next one once ended it in a step."""
    queue, measured = ChunkQueue(strategy=strategy, engage_s=0.5), pose(x=0.5, y=0.3)
    now = 100 * MS
    queue.engage([measured], now)
    queue.put(line(stamp_ns=0, count=40), now)
    ramp = Fade(
        Hold((arm_to_pose(measured),), now), Trajectory(line(), 'interleaved'), now, 500 * MS
    )
    for index, gap_ms in enumerate(gaps_ms):
        now += gap_ms * MS
        before = position(queue.take(now))
        if index < len(others):
            queue.set_strategy(others[index])
        start = (0.5 + 0.1 * (now - 50 * MS) * 1e-9, aside_m * (index % 2), 0.3)
        assert queue.put(line(stamp_ns=now - 50 * MS, count=40, start=start), now)
        step = np.linalg.norm(position(queue.take(now)) - before)
        assert step <= ramp.weight(now) * abs(aside_m) + 1e-9
        if not aside_m:
            np.testing.assert_allclose(before, ramp.at(now)[0][:3], atol=1e-9)


@pytest.mark.parametrize('first', [0, 1])
def test_a_plan_shows_what_will_be_taken(line, first):
    queue = ChunkQueue()
    assert queue.plan(0, 0.1, 5) is None
    queue.put(line(stamp_ns=0, first=first), 0)
    queue.put(line(stamp_ns=1, start=(0.5, 0.1, 0.3), first=first), 100 * MS)
    shown = queue.plan(200 * MS, 0.05, 6)
    assert shown.actions.shape == (7 - first, 20)
    assert (shown.stamp_ns, shown.due_ns(0)) == (200 * MS, (200 + 50 * first) * MS)
    assert shown.end_ns == 500 * MS
    for i, row in enumerate(shown.actions):
        np.testing.assert_allclose(position(queue.take(shown.due_ns(i))), row[:3], atol=1e-12)
    assert queue.plan(10**12, 0.1, 5) is None


def test_the_age_of_a_target_counts_observations_by_their_part(line):
    queue = ChunkQueue(blend_s=0.4)
    assert queue.age_s(0) is None
    queue.put(line(stamp_ns=0), 100 * MS)
    assert queue.age_s(200 * MS) == pytest.approx(0.2)
    queue.put(line(stamp_ns=200 * MS), 300 * MS)
    assert queue.age_s(500 * MS) == pytest.approx(0.4)
    assert queue.age_s(800 * MS) == pytest.approx(0.6)
