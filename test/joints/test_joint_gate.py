# SPDX-License-Identifier: Apache-2.0
"""The gate in joint space: whatever a policy says, what leaves keeps every limit and can stop."""

from copy import copy

from counts import FULL
from joint_robots import joint_robot, joints, PERIOD_S, ROBOTS
import numpy as np
import pytest

from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.safety import SafetyGate
from xvla_ros.core.workspace import workspace

CHUNKS = 10_000 if FULL else 1_000
TICKS, DT_S, MS = 5, 0.02, 1_000_000


def wild(rng, robot, q):
    """Return a random plan (T, N) from joints q: a walk, a line, a jump, or noise."""
    count, size = 12, rng.uniform(0.0, 0.6)
    bounds = robot.model.bounds
    goal = rng.uniform(bounds.lower - 0.2, bounds.upper + 0.2)
    share = np.linspace(0, 1, count)[:, None]
    kind = rng.integers(4)
    if kind == 0:
        return q + np.cumsum(rng.normal(0, 0.2 * size, (count, len(q))), axis=0)
    if kind == 1:
        return q + share * size * (goal - q)
    if kind == 2:
        return np.where(share < size, q, goal)
    return q + size * rng.normal(0, 0.5, (count, len(q)))


class Watch:
    """Follows what leaves a gate, and checks every state by itself."""

    def __init__(self, robot):
        self.robot, self.q, self.v = robot, robot.home, np.zeros_like(robot.home)
        self.spaces = [workspace(arm) for arm in robot.embodiment.arms.values()]
        self.way = 0.0

    def see(self, arms):
        model, bounds = self.robot.model, self.robot.model.bounds
        q = joints(arms)
        v = (q - self.q) / DT_S
        assert (q >= bounds.lower - 1e-9).all()
        assert (q <= bounds.upper + 1e-9).all()
        assert (np.abs(v) <= bounds.fastest(q, v) + 1e-6).all()
        most = bounds.acceleration * DT_S * (1 + 1e-6) + 1e-9
        assert (np.abs(v - self.v) <= most).all(), (v - self.v) / DT_S
        assert not model.collision(q)
        for arm, space, (position, _) in zip(arms, self.spaces, model.tools(q), strict=True):
            assert space.contains(position, 1e-6)
            np.testing.assert_allclose(arm.position, position, atol=1e-9)
        self.way += float(np.abs(q - self.q).sum())
        self.q, self.v = q, v

    def stop(self, gate):
        """Brake to a stop, on a copy of the gate; every state on the way is checked."""
        q, v, gate = self.q, self.v, copy(gate)
        for _ in range(200):
            self.see(gate.hold(DT_S))
            if not self.v.any():
                break
        assert not self.v.any()
        self.q, self.v = q, v


@pytest.mark.parametrize('name', ROBOTS)
def test_random_chunks_break_no_limit_and_every_state_can_stop(name):
    robot, rng, watch = joint_robot(name), np.random.default_rng(7), Watch(joint_robot(name))
    gate, now_ns = SafetyGate(robot.embodiment, robot.model), 1000 * MS
    queue = ChunkQueue(space=robot.space, blend_s=0.1, engage_s=0.1)
    queue.engage(robot.arms(robot.home), now_ns)
    for number in range(CHUNKS):
        plan = wild(rng, robot, watch.q if number % 20 else robot.home)
        chunk = robot.chunk(plan, now_ns, number, rng.uniform(0, 1))
        verdict = gate.check(chunk, robot.arms(watch.q))
        queue.put(verdict.chunk or chunk, now_ns)  # a refused one, too: the steps must be safe
        for _ in range(TICKS):
            now_ns += round(DT_S * 1000) * MS
            targets = queue.take(now_ns) or robot.arms(watch.q)
            step = gate.check_step(targets, robot.arms(watch.q), DT_S)
            assert step.targets is not None, step.message
            watch.see(step.targets)
        if number % 25 == 0:
            watch.stop(gate)
    assert watch.way > 0.01 * CHUNKS, 'the robot hardly moved'


@pytest.mark.parametrize('name', ROBOTS)
def test_an_accepted_chunk_is_slowed_in_time_and_not_bent(name):
    robot = joint_robot(name)
    gate, bounds = SafetyGate(robot.embodiment, robot.model), robot.model.bounds
    way = 0.03 * np.sin(np.linspace(0, 2 * np.pi, 12))[:, None] * np.ones_like(robot.home)
    for factor in (0.2, 1.0, 2.0):
        chunk = robot.chunk(robot.home + way, period_s=PERIOD_S / factor)
        verdict = gate.check(chunk, robot.arms(robot.home))
        assert verdict.accepted, verdict.message
        np.testing.assert_array_equal(verdict.chunk.actions, chunk.actions)
        assert verdict.chunk.period_s >= chunk.period_s
        speeds = np.abs(np.diff(robot.home + way, axis=0)) / verdict.chunk.period_s
        assert (speeds <= bounds.speed * (1 + 1e-9)).all()


@pytest.mark.parametrize('name', ROBOTS)
def test_targets_within_the_limits_pass_unchanged(name):
    robot = joint_robot(name)
    gate, q = SafetyGate(robot.embodiment, robot.model), robot.home.copy()
    for tick in range(40):
        q = robot.home + 0.03 * np.sin(0.04 * tick) ** 2
        step = gate.check_step(robot.arms(q), robot.arms(robot.home), DT_S)
        assert step.accepted, step.message
        assert not step.reasons
        np.testing.assert_array_equal(joints(step.targets), q)


def test_a_franka_slows_down_towards_the_ends_of_its_joints():
    """Source of the figures: libfranka rate_limiting.h, computeUpperLimitsJointVelocity."""
    bounds = joint_robot('franka_joint').model.bounds
    q = joint_robot('franka_joint').home.copy()
    q[0] = 2.6
    v = np.ones(7)
    assert bounds.fastest(q, v)[0] == pytest.approx(-0.3 + np.sqrt(12 * (2.7501 - 2.6)))
    assert bounds.fastest(q, -v)[0] == pytest.approx(0.8 * 2.62, abs=1e-3)
