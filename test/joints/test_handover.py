# SPDX-License-Identifier: Apache-2.0
"""Paths for joint_trajectory_controller: replaced without a jump, and safe when nobody goes on."""

from dataclasses import replace

from counts import FULL
from joint_robots import joint_robot, joints
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from xvla_ros.control.handover import Handover, unmeasured
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.safety import SafetyGate

DT_S, MS, AHEAD = 0.02, 1_000_000, 5
TICKS = 3_000 if FULL else 400
# The cubics go through points that the gate allows. Between them a joint may be faster by a
# quarter of what the acceleration changes in a step. The acceleration is up to 8 times the limit
# where a late step meets a stop; its 99th percentile is below 3 times the limit.
FASTER, HARDER = 0.25, 10.0


class Controller:
    """The arms' joint_trajectory_controller: follows the newest path from where it is."""

    def __init__(self, q):
        self.q, self.v = q, np.zeros_like(q)
        self.curve, self.end_s, self.at_s = None, 0.0, 0.0

    def take(self, plans):
        q = np.hstack([plan.path.joints for plan in plans])
        v = np.hstack([plan.path.velocities for plan in plans])
        times = plans[0].path.period_s * np.arange(len(q) + 1)
        self.curve = CubicHermiteSpline(times, np.vstack([self.q, q]), np.vstack([self.v, v]))
        self.end_s, self.at_s = times[-1], 0.0

    def run(self, time_s, see):
        """Follow the path for a time, and show every state at 500 Hz."""
        for _ in range(round(time_s / 0.002)):
            self.at_s = min(self.at_s + 0.002, self.end_s)
            if self.curve is not None:
                self.q, self.v = self.curve(self.at_s), self.curve(self.at_s, 1)
                see(self.q, self.v, self.curve(self.at_s, 2))


class Cell:
    """A robot, a plan that changes, and the gate with its handover."""

    def __init__(self, name, seed=3):
        self.robot, self.rng = joint_robot(name), np.random.default_rng(seed)
        changed = replace(self.robot.embodiment.control, ahead_s=AHEAD * DT_S)
        self.gate = SafetyGate(self.robot.embodiment, self.robot.model)
        self.handover, self.controller = Handover(changed), Controller(self.robot.home)
        self.queue = ChunkQueue(space=self.robot.space, blend_s=0.1, engage_s=0.1)
        self.now_ns, self.stamp_ns, self.numbers = 1000 * MS, 1000 * MS - 20 * MS, 0
        self.queue.engage(self.robot.arms(self.robot.home), self.now_ns)
        self.way, self.worst = 0.0, 0.0

    def plan(self):
        """Put a new plan: a smooth way from here to somewhere near home."""
        self.numbers += 1
        goal = self.robot.home + self.rng.uniform(-0.5, 0.5, len(self.robot.home))
        share = np.linspace(0, 1, 15)[:, None] ** 2
        plan = self.controller.q + share * (goal - self.controller.q)
        chunk = self.robot.chunk(plan, self.now_ns, self.numbers)
        verdict = self.gate.check(chunk, self.robot.arms(self.controller.q))
        self.queue.put(verdict.chunk or chunk, self.now_ns)

    def catch_up(self):
        self.gate, skipped_ns = self.handover.catch_up(self.gate, self.now_ns)
        self.stamp_ns += skipped_ns
        dt_s = min((self.now_ns - self.stamp_ns) * 1e-9, 2 * DT_S)
        self.stamp_ns = self.now_ns
        return dt_s

    def step(self):
        """Send a step towards the plan, as the controller node does."""
        dt_s, here = self.catch_up(), self.robot.arms(self.controller.q)
        dt_s = min(dt_s, self.handover.longest_s(self.now_ns))
        targets = self.queue.take(self.now_ns) or here
        rows = [self.robot.space.arms(s) for s in self.queue.ahead(self.now_ns, DT_S, AHEAD)]
        verdict = self.gate.check_step(targets, here, dt_s)
        self.send(verdict.targets, dt_s, rows)

    def brake(self):
        dt_s = self.catch_up()
        self.send(self.gate.hold(dt_s), dt_s)

    def send(self, targets, dt_s, rows=()):
        here = self.robot.arms(self.controller.q)
        plans = unmeasured(targets)
        plans = self.handover.lead(plans, self.gate, dt_s, self.now_ns, rows, here)
        np.testing.assert_array_equal(plans[0].path.joints[0], targets[0].joints)
        self.controller.take(plans)

    def run(self, time_ms):
        self.now_ns += time_ms * MS
        self.controller.run(time_ms / 1000, self.see)

    def see(self, q, v, acceleration):
        """Check one state of the arms' controller."""
        bounds = self.robot.model.bounds
        assert (q >= bounds.lower - 1e-6).all()
        assert (q <= bounds.upper + 1e-6).all()
        assert (np.abs(v) <= bounds.speed + FASTER * bounds.acceleration * DT_S).all()
        hardest = float((np.abs(acceleration) / bounds.acceleration).max())
        self.worst = max(self.worst, hardest)
        assert hardest <= HARDER, hardest
        self.way += float(np.abs(v).sum()) * 0.002


@pytest.mark.parametrize('name', ['so101', 'so101_pair', 'franka_joint'])
def test_late_steps_holds_and_new_plans_never_make_the_arms_jump(name):
    cell = Cell(name)
    for tick in range(TICKS):
        if tick % 12 == 0:
            cell.plan()
        cell.brake() if tick % 50 > 44 else cell.step()
        cell.run(int(cell.rng.choice([20, 20, 20, 18, 22, 28, 44, 90], p=[0.3] + [0.1] * 7)))
        assert not cell.robot.model.collision(cell.controller.q)
    assert cell.way > 0.01 * TICKS, 'the robot hardly moved'


@pytest.mark.parametrize('name', ['so101', 'so101_pair', 'franka_joint'])
def test_after_the_last_step_the_arms_go_on_and_stop_by_themselves(name):
    cell = Cell(name)
    bounds = cell.robot.model.bounds
    for _ in range(10):
        cell.plan()
        for _ in range(int(cell.rng.integers(3, 12))):
            cell.step()
            cell.run(20)
        longest_s = AHEAD * DT_S + bounds.brake_s(bounds.speed) + 3 * DT_S
        cell.run(round(longest_s * 1000))
        assert np.abs(cell.controller.v).max() < 1e-9, 'the process is dead and the arms move'
        assert not cell.robot.model.collision(cell.controller.q)
        end = joints(cell.handover._states[-1][1])
        np.testing.assert_allclose(cell.controller.q, end, atol=1e-9)


def test_a_hold_shortens_the_way_to_the_braking_distance():
    cell = Cell('so101')
    cell.plan()
    for _ in range(8):
        cell.step()
        cell.run(20)
    speed, bounds = cell.controller.v.copy(), cell.robot.model.bounds
    before = cell.controller.q.copy()
    cell.brake()
    cell.run(1000)
    most = np.abs(speed) * (bounds.brake_s(speed) / 2 + 2 * DT_S) + 1e-3
    assert np.abs(speed).max() > 0.1, 'the arm hardly moved'
    assert (np.abs(cell.controller.q - before) <= most).all()
