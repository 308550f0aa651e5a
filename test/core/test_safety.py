# SPDX-License-Identifier: Apache-2.0
"""Nothing that leaves the gate breaks a limit, whatever goes in."""

from copy import copy
from functools import lru_cache
import math
from pathlib import Path

from counts import FEW, FULL
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.quaternions import difference
from xvla_ros.core.safety import SafetyGate
from xvla_ros.core.verdict import MEANING
from xvla_ros.core.workspace import to_world
from xvla_ros.core.workspace import workspace as make_workspace

CONFIG = Path(__file__).parents[2] / 'config'
MANY = settings(max_examples=10_000 if FULL else 300)
SLACK = 1 + 1e-6
KINDS = ('near', 'teleport', 'nan', 'infinite', 'huge', 'antipodal', 'layout', 'zero', 'scaled')
seeds = st.integers(0, 2**32 - 1)
workspace = lru_cache(make_workspace)


def inside(rng, arm):
    """Return a random position in an arm's box, and above its planes."""
    space = workspace(arm)
    while True:
        point = rng.uniform(space.low, space.high)
        if space.contains_point(point):
            return point


def random_pose(rng, arm, spread=1.0):
    """Return a random pose near or in the box; `spread` > 1 reaches outside."""
    space = workspace(arm)
    middle, half = (space.low + space.high) / 2, (space.high - space.low) / 2
    quaternion = rng.normal(size=4)
    return ArmPose(
        position=middle + spread * half * rng.uniform(-1, 1, 3),
        quaternion=quaternion / np.linalg.norm(quaternion),
        gripper=rng.choice([0.0, 1.0, 2.0, np.nan, np.inf]),
    )


def random_chunk(rng, arms, kind):
    """Return a chunk of one kind of trouble, and where its tools begin."""
    count = int(rng.integers(1, 8))
    actions, begin = np.zeros((count, 20)), []
    for index, arm in enumerate(arms):
        half = actions[:, 10 * index : 10 * (index + 1)]
        start, turn = inside(rng, arm), Rotation.from_quat(rng.normal(size=4))
        reach, wobble = (1.0, 3.0) if kind == 'teleport' else (0.01, 0.05)
        half[:, :3] = start + np.cumsum(rng.normal(scale=reach, size=(count, 3)), axis=0)
        turns = Rotation.from_rotvec(rng.normal(scale=wobble, size=(count, 3))) * turn
        half[:, 3:9] = turns.as_matrix()[:, :, :2].reshape(count, 6)
        half[:, 9] = rng.random(count)
        begin.append(ArmPose(position=start, quaternion=turn.as_quat(), gripper=1.0))
        _spoil(rng, half, kind, turns)
    stamp_ns = int(rng.integers(0, 10**9))
    return Chunk(stamp_ns=stamp_ns, period_s=float(rng.uniform(0.02, 0.3)), actions=actions), begin


def _spoil(rng, half, kind, turns):
    """Do to one arm's actions what the kind of trouble does."""
    where = rng.integers(len(half)), rng.integers(9)
    if kind == 'nan':
        half[where] = np.nan
    elif kind == 'infinite':
        half[where] = -np.inf
    elif kind == 'huge':
        half[where[0], :3] = 1e300
    elif kind == 'layout':
        half[:, 3:9] = np.swapaxes(turns.as_matrix()[:, :, :2], 1, 2).reshape(len(half), 6)
    elif kind == 'zero':
        half[where[0], 3:9] = 0.0
    elif kind == 'scaled':
        half[where[0], 3:9] *= 3.0
    elif kind == 'antipodal' and len(half) > 1:
        flipped = Rotation.from_rotvec([np.pi, 0, 0]) * turns[0]
        half[1, 3:9] = flipped.as_matrix()[:, :2].reshape(6)


class Watch:
    """Follows what leaves a gate and asserts every limit."""

    def __init__(self, embodiment, begin):
        self.limits = embodiment.limits
        self.arms = list(embodiment.arms.values())
        self.poses = begin
        self.velocities = [(np.zeros(3), np.zeros(3)) for _ in begin]

    def saw(self, targets, dt_s):
        """Take the next targets that left."""
        limits, velocities = self.limits, []
        for arm, pose, old, before in zip(
            self.arms, targets, self.poses, self.velocities, strict=True
        ):
            space = workspace(arm)
            assert np.all(pose.position >= space.low)
            assert np.all(pose.position <= space.high)
            assert not len(space.offsets) or space.contains(pose.position, 1e-7)
            velocity = (pose.position - old.position) / dt_s
            spin = np.array(difference(tuple(old.quaternion), tuple(pose.quaternion))) / dt_s
            assert math.hypot(*velocity) <= limits.max_linear_speed_m_s * SLACK + 1e-7
            assert math.hypot(*spin) <= limits.max_angular_speed_rad_s * SLACK + 1e-7
            push = math.hypot(*(velocity - before[0])) / dt_s
            twist = math.hypot(*(spin - before[1])) / dt_s
            assert push <= limits.max_linear_acceleration_m_s2 * SLACK + 1e-5
            assert twist <= limits.max_angular_acceleration_rad_s2 * SLACK + 1e-5
            assert math.isnan(pose.gripper) or 0 <= pose.gripper <= 1
            velocities.append((velocity, spin))
        self.poses, self.velocities = targets, velocities
        if len(targets) == 2:
            ends = [to_world(a, t.position) for a, t in zip(self.arms, targets, strict=True)]
            assert np.linalg.norm(ends[0] - ends[1]) >= limits.min_arm_distance_m - 1e-9


def apart(embodiment, begin):
    """Return whether two tools begin far enough from each other."""
    ends = [to_world(a, p.position) for a, p in zip(embodiment.arms.values(), begin, strict=True)]
    return len(ends) == 1 or np.linalg.norm(ends[0] - ends[1]) > 0.11


@MANY
@given(seed=seeds, kind=st.sampled_from(KINDS), dual=st.booleans())
def test_nothing_that_leaves_the_gate_breaks_a_limit(franka, two_arms, seed, kind, dual):
    """Chunks of every kind of trouble, through the gate, the queue, and the gate again."""
    rng = np.random.default_rng(seed)
    embodiment = two_arms if dual else franka
    chunk, begin = random_chunk(rng, list(embodiment.arms.values()), kind)
    if not apart(embodiment, begin):
        return
    gate, queue = SafetyGate(embodiment), ChunkQueue(strategy=rng.choice(['replace', 'blend']))
    verdict = gate.check(chunk, begin)
    assert set(verdict.reasons) <= set(MEANING)
    assert verdict.accepted == (verdict.chunk is not None)
    if not verdict.accepted:
        assert verdict.reasons
        assert verdict.message
        assert gate.counts == dict.fromkeys(verdict.reasons, 1)
        return
    assert kind not in ('nan', 'infinite', 'zero', 'scaled')
    check_chunk(embodiment, verdict.chunk)
    assert queue.put(verdict.chunk, verdict.chunk.stamp_ns)
    watch, dt_s = Watch(embodiment, begin), 0.02
    for k in range(6):
        targets = queue.take(verdict.chunk.stamp_ns + round(k * dt_s * 1e9)) or begin
        step = gate.check_step(targets, begin, dt_s)
        assert step.accepted or step.reasons
        if step.targets is not None:
            watch.saw(step.targets, dt_s)


def check_chunk(embodiment, chunk):
    """Assert that the anchors of an accepted chunk keep workspaces and speeds."""
    for index, arm in enumerate(embodiment.arms.values()):
        half = chunk.actions[:, 10 * index : 10 * (index + 1)]
        assert workspace(arm).contains(half[:, :3], 1e-7).all()
        steps = np.linalg.norm(np.diff(half[:, :3], axis=0), axis=1) / chunk.period_s
        assert np.all(steps <= embodiment.limits.max_linear_speed_m_s * SLACK)
        turns = Rotation.from_matrix(
            np.stack(
                [half[:, 3:9:2], half[:, 4:9:2], np.cross(half[:, 3:9:2], half[:, 4:9:2])], -1
            )
        )
        if len(turns) > 1:
            spins = (turns[1:] * turns[:-1].inv()).magnitude() / chunk.period_s
            assert np.all(spins <= embodiment.limits.max_angular_speed_rad_s * SLACK + 1e-6)


@FEW
@given(seed=seeds, dt_s=st.floats(0.002, 0.1), dual=st.booleans())
def test_no_sequence_of_targets_makes_a_sequence_that_breaks_a_limit(
    franka, two_arms, seed, dt_s, dual
):
    """Teleports, runs at walls and at the other arm, rejections, holds, in any order."""
    rng = np.random.default_rng(seed)
    embodiment = two_arms if dual else franka
    arms = list(embodiment.arms.values())
    begin = [
        ArmPose(position=inside(rng, arm), quaternion=[1, 0, 0, 0], gripper=1.0) for arm in arms
    ]
    if not apart(embodiment, begin):
        return
    gate, watch = SafetyGate(embodiment), Watch(embodiment, begin)
    goals, patience = begin, int(rng.integers(1, 12))
    assert gate.check_step(begin, begin, dt_s).accepted
    watch.saw(begin, dt_s)
    for k in range(30):
        if k % patience == 0:
            goals = [random_pose(rng, arm, spread=2.0) for arm in arms]
        if rng.random() < 0.1:
            watch.saw(gate.hold(dt_s), dt_s)
            continue
        step = gate.check_step(goals, [random_pose(rng, arm) for arm in arms], dt_s)
        assert step.accepted or step.reasons
        watch.saw(step.targets, dt_s)
    assert sum(gate.counts.values()) > 0


def test_a_step_within_every_limit_passes_to_the_last_bit(franka, pose):
    gate, dt_s = SafetyGate(franka), 0.02
    measured = pose()
    turn = 0.0
    for k in range(60):
        turn += 1e-4 * min(k, 30)
        target = pose(x=0.5 + 1e-5 * k * k, turn=(np.pi - turn, 0, 0), gripper=0.3)
        step = gate.check_step([target], [measured], dt_s)
        assert step.accepted
        assert step.reasons == ()
        np.testing.assert_array_equal(step.targets[0].position, target.position)
        dots = step.targets[0].quaternion @ target.quaternion
        assert abs(dots) == pytest.approx(1, abs=1e-15)
        assert step.targets[0].gripper == 0.3
    assert gate.counts == {}


def test_a_clamped_tool_arrives_and_stays_without_passing_its_target(franka, pose):
    gate = SafetyGate(franka)
    goal, farthest = pose(x=0.7, turn=(np.pi, 0.3, 0)), 0.0
    gate.check_step([pose()], [pose()], 0.02)
    for _ in range(150):
        step = gate.check_step([goal], [pose()], 0.02)
        farthest = max(farthest, step.targets[0].position[0])
    assert farthest <= 0.7 + 1e-9
    np.testing.assert_allclose(step.targets[0].position, goal.position, atol=1e-9)
    assert abs(step.targets[0].quaternion @ goal.quaternion) == pytest.approx(1, abs=1e-9)
    assert step.reasons == ()
    assert gate.counts['linear_speed'] > 10


def test_after_a_clamp_a_moving_target_is_caught_up_with(franka, pose):
    """A tool that lagged for ever would turn every later step into a clamped one."""
    gate = SafetyGate(franka)
    gate.check_step([pose()], [pose()], 0.02)
    for k in range(100):
        target = pose(x=0.55, y=-0.3 + 0.004 * k)
        step = gate.check_step([target], [pose()], 0.02)
    assert step.reasons == ()
    np.testing.assert_array_equal(step.targets[0].position, target.position)


def test_the_wrong_layout_refuses_to_move_and_says_which_would_fit(franka, line):
    chunk = line()
    matrices = Rotation.from_euler('xyz', [2.5, 0.4, 0.3]).as_matrix()
    actions = chunk.actions.copy()
    actions[:, 3:9] = np.concatenate([matrices[:, 0], matrices[:, 1]])
    verdict = SafetyGate(franka).check(Chunk(stamp_ns=0, period_s=0.1, actions=actions))
    assert not verdict.accepted
    assert verdict.reasons == ('rotation_layout',)
    assert "'contiguous'" in verdict.message
    assert verdict.chunk is None


@FEW
@given(seeds)
def test_a_layout_is_told_apart_in_every_varied_chunk(franka, seed):
    rng = np.random.default_rng(seed)
    matrices = Rotation.from_quat(rng.normal(size=(8, 4))).as_matrix()
    gate = SafetyGate(franka)
    for layout, reasons in (('contiguous', {'rotation_layout'}), ('interleaved', set())):
        actions = np.zeros((8, 20))
        actions[:, :3] = 0.5, 0.0, 0.3
        columns = matrices[:, :, :2]
        columns = columns if layout == 'interleaved' else np.swapaxes(columns, 1, 2)
        actions[:, 3:9] = columns.reshape(8, 6) + rng.normal(scale=0.003, size=(8, 6))
        verdict = gate.check(Chunk(stamp_ns=0, period_s=1.0, actions=actions))
        assert set(verdict.reasons) - {'angular_speed'} == reasons


@pytest.mark.parametrize(
    ('rule', 'reason', 'chunk'),
    [
        ('on_workspace', 'workspace', {'start': (0.74, 0.0, 0.3)}),
        ('on_speed', 'linear_speed', {'velocity': (0.0, 0.6, 0.0), 'count': 5}),
        ('on_first_step', 'first_step', {'start': (0.6, 0.2, 0.3), 'count': 5}),
    ],
)
@pytest.mark.parametrize('action', ['clamp', 'reject'])
def test_each_rule_clamps_or_rejects_a_chunk_as_configured(
    line, pose, rule, reason, chunk, action
):
    embodiment = load(**{f'limits.{rule}': action})
    gate = SafetyGate(embodiment)
    verdict = gate.check(line(**chunk), [pose(*chunk.get('start', (0.5, 0.0, 0.3)))])
    if reason == 'first_step':
        verdict = gate.check(line(**chunk), [pose()])
    assert reason in verdict.reasons
    assert verdict.accepted == (action == 'clamp')
    assert gate.counts[reason] >= 1


@pytest.mark.parametrize(
    ('rule', 'reason', 'x'),
    [('on_workspace', 'workspace', 0.8), ('on_speed', 'linear_speed', 0.55)],
)
@pytest.mark.parametrize('action', ['clamp', 'reject'])
def test_each_rule_clamps_or_rejects_a_step_as_configured(pose, rule, reason, x, action):
    gate = SafetyGate(load(**{f'limits.{rule}': action, 'limits.max_first_step_m': 1.0}))
    gate.check_step([pose()], [pose()], 0.02)
    verdict = gate.check_step([pose(x=x)], [pose()], 0.02)
    assert reason in verdict.reasons
    assert verdict.accepted == (action == 'clamp')
    assert verdict.targets is not None
    if action == 'reject':
        assert verdict.message
        np.testing.assert_array_equal(verdict.targets[0].position, pose().position)


def load(**overrides):
    """Return the Franka with other limits."""
    return load_embodiment(CONFIG / 'franka_sim.yaml', overrides)


def test_motion_does_not_begin_far_from_the_tool_or_outside_the_workspace(franka, pose):
    gate = SafetyGate(franka)
    far = gate.check_step([pose(x=0.65)], [pose()], 0.02)
    assert (far.accepted, far.targets, far.reasons) == (False, None, ('first_step',))
    turned = gate.check_step([pose(turn=(np.pi - 0.7, 0, 0))], [pose()], 0.02)
    assert turned.reasons == ('first_step',)
    outside = gate.check_step([pose(z=0.03)], [pose(z=0.005)], 0.02)
    assert (outside.targets, outside.reasons) == (None, ('workspace',))
    sagging = gate.check_step([pose(z=0.03)], [pose(z=0.015)], 0.02)
    assert sagging.accepted
    assert sagging.targets[0].position[2] >= 0.02


@pytest.mark.parametrize(('dt_s', 'reason'), [(0.0, 'time'), (-1.0, 'time'), (np.nan, 'time')])
def test_a_step_without_time_is_no_step(franka, pose, dt_s, reason):
    verdict = SafetyGate(franka).check_step([pose()], [pose()], dt_s)
    assert (verdict.accepted, verdict.reasons) == (False, (reason,))


def test_another_number_of_arms_brakes(franka, pose):
    gate = SafetyGate(franka)
    gate.check_step([pose()], [pose()], 0.02)
    verdict = gate.check_step([pose(), pose()], [pose(), pose()], 0.02)
    assert verdict.reasons == ('arms',)
    assert len(verdict.targets) == 1


def test_a_late_tick_is_no_licence_for_a_long_step(franka, pose):
    gate = SafetyGate(franka)
    gate.check_step([pose()], [pose()], 0.02)
    verdict = gate.check_step([pose(x=0.7)], [pose()], 0.4)
    assert verdict.targets[0].position[0] - 0.5 <= 0.5 * 0.1 + 1e-9


def test_after_a_pause_motion_begins_anew_where_the_tool_is(franka, pose):
    gate = SafetyGate(franka)
    for x in np.arange(0.5, 0.6, 0.005):
        gate.check_step([pose(x=x)], [pose(x=x)], 0.02)
    moved = pose(x=0.4, y=0.2)
    verdict = gate.check_step([moved], [moved], 5.0)
    assert verdict.accepted
    np.testing.assert_allclose(verdict.targets[0].position, moved.position, atol=1e-9)


def test_holding_brakes_to_a_stop(franka, pose):
    gate, watch = SafetyGate(franka), Watch(franka, [pose()])
    assert gate.hold(0.02) is None
    for _ in range(20):
        targets = gate.check_step([pose(x=0.7)], [pose()], 0.02)
        if targets.targets is None:
            targets = gate.check_step([pose()], [pose()], 0.02)
        watch.saw(targets.targets, 0.02)
    for _ in range(20):
        held = gate.hold(0.02)
        watch.saw(held, 0.02)
    np.testing.assert_array_equal(held[0].position, gate.hold(0.02)[0].position)
    gate.reset()
    assert gate.hold(0.02) is None


def test_a_copy_goes_its_own_way(franka, pose):
    """A controller goes back to a copy; they once shared one counter."""
    gate = SafetyGate(franka)
    gate.check_step([pose()], [pose()], 0.02)
    before = copy(gate)
    assert gate.check_step([pose(x=0.7)], [pose()], 0.02).reasons
    assert before.counts == {}
    assert gate.counts
    again = before.check_step([pose()], [pose()], 0.02)
    np.testing.assert_array_equal(again.targets[0].position, pose().position)
