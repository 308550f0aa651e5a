# SPDX-License-Identifier: Apache-2.0
"""The decision of the control loop, on an injected clock and without ROS."""

from dataclasses import replace

import numpy as np
import pytest

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.home import HomeMotion
from xvla_ros.runtime.state import State
from xvla_ros.runtime.worker_messages import Answer, Timing

MS = 1_000_000
BEGIN_NS = 10_000 * MS
TICK_NS = 20 * MS
GONE = Reason('camera main', 'camera main: gone')
OTHER = Reason('worker', 'changing to the checkpoint other')
DOWN = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope='module')
def embodiment():
    return load_embodiment(shared_file('config', 'franka_sim.yaml'))


def arm(y_m=0.0):
    return ArmPose(position=(0.45, y_m, 0.30), quaternion=DOWN, gripper=1.0)


class Loop:
    """A control loop with a robot that is always where it was told to be."""

    def __init__(self, embodiment):
        self.control = PolicyControl(embodiment)
        self.now_ns, self.measured = BEGIN_NS, (arm(),)
        self.epoch = self.control.set_task('pick up the red block')
        self.closed = 0.1  # what the model says of the gripper

    def answer(self, begin_m=0.0, end_m=0.05, epoch=None):
        """Let a chunk arrive."""
        return self.judge(self.chunk(begin_m, end_m), epoch)

    def chunk(self, begin_m=0.0, end_m=0.05):
        """Return a chunk that leads to y = end_m within a second."""
        rows = [pack([arm(y)], 'interleaved') for y in np.linspace(begin_m, end_m, 10)]
        rows = [np.where(np.arange(20) == 9, self.closed, row) for row in rows]
        return Chunk(stamp_ns=self.now_ns - 20 * MS, period_s=0.1, actions=np.array(rows))

    def judge(self, chunk, epoch=None, arms=None):
        """Let a chunk arrive that was made for the arms as they are, or for others."""
        answer = Answer(
            chunk=chunk,
            arms=arms or self.measured,
            epoch=self.epoch if epoch is None else epoch,
            timing=Timing(),
        )
        return self.control.judge(answer, self.now_ns)

    def tick(self, count=1, trouble=''):
        """Tick; return the commands."""
        commands = []
        for _ in range(count):
            self.now_ns += TICK_NS
            measured = None if trouble else self.measured
            command = self.control.tick(self.now_ns, measured, Reason('arm arm', trouble))
            if command and command.targets:
                self.measured = command.targets
            commands.append(command)
        return commands

    @property
    def state(self):
        """Return what the control does."""
        return self.control.state(self.now_ns)


@pytest.fixture
def loop(embodiment):
    return Loop(embodiment)


def test_a_plan_is_followed_from_where_the_arm_is(loop):
    loop.answer()
    commands = loop.tick(40)
    path = np.array([c.targets[0].position for c in commands])
    assert np.linalg.norm(path[0] - arm().position) < 0.002
    assert path[-1, 1] > 0.03
    assert loop.state == State.RUNNING


@pytest.mark.parametrize('strategy', ['replace', 'blend', 'ensemble', 'inpaint'])
def test_the_ramp_from_rest_outlasts_the_chunks_that_come_meanwhile(embodiment, strategy):
    """The second chunk once ended it, 6 cm before its time; the gate had to clamp the step."""
    loop = Loop(replace(embodiment, control=replace(embodiment.control, strategy=strategy)))
    loop.measured = (arm(),)
    for _ in range(12):
        loop.answer(begin_m=0.06, end_m=0.06)
        loop.tick(5)
    assert loop.measured[0].position[1] == pytest.approx(0.06, abs=1e-4)
    assert loop.control.snapshot(loop.now_ns).counters.clamped_steps == 0


def test_a_dry_run_sends_nothing(loop):
    loop.control.set_armed(False)
    loop.answer()
    assert loop.tick(5) == [None] * 5
    assert loop.state == State.DRY_RUN


@pytest.mark.parametrize('source', ['inputs', 'observation', 'worker', 'deadman'])
def test_a_block_holds_until_it_is_taken_back(loop, source):
    loop.answer()
    loop.tick(20)
    loop.control.block(source, GONE, loop.now_ns)
    assert all(c.targets is None for c in loop.tick(5))
    assert loop.state in (State.WAITING, State.HOLDING)
    loop.control.unblock(source)
    loop.answer()
    before = loop.measured[0].position
    (command,) = loop.tick()
    assert np.linalg.norm(command.targets[0].position - before) < 0.002, 'no ramp after a hold'


def test_a_chunk_from_before_the_block_is_not_followed_after_it(loop):
    loop.answer()
    loop.tick(5)
    loop.control.block('inputs', GONE, loop.now_ns)
    loop.answer()
    loop.control.unblock('inputs')
    assert all(c.targets is None for c in loop.tick(5))


def test_a_worker_that_ends_is_the_reason_and_not_what_it_lacked_before(loop):
    """The status once went on to tell the older reason, which nobody took back."""
    loop.control.block('inputs', GONE, loop.now_ns)
    loop.control.block(
        'worker',
        OTHER,
        loop.now_ns,
    )
    assert loop.state == State.HOLDING
    assert 'other' in loop.control.snapshot(loop.now_ns).message
    loop.control.unblock('worker')
    assert not loop.control.held_by


def test_unknown_arm_state_holds(loop):
    loop.answer()
    loop.tick(5)
    assert loop.tick(trouble='arm arm: nothing received yet')[0].targets is None
    assert loop.control.snapshot(loop.now_ns).message == 'arm arm: nothing received yet'


def test_a_clock_slower_than_the_ticks_repeats_targets(loop):
    """Simulations publish /clock at 30 Hz and less."""
    loop.answer()
    loop.tick()
    for _ in range(40):
        (command,) = loop.tick()
        again = loop.control.tick(loop.now_ns, loop.measured, Reason())
        assert again.targets == command.targets
    assert loop.state == State.RUNNING


def test_after_the_clock_was_set_back_only_what_is_seen_then_moves(loop):
    loop.answer()
    loop.tick(20)
    loop.now_ns += 100 * MS
    early = loop.now_ns
    loop.now_ns -= 5_000 * MS
    assert all(c.targets is None for c in loop.tick(5))
    back_ns, loop.now_ns = loop.now_ns, early
    chunk = loop.chunk()  # seen before the clock was set back
    loop.now_ns = back_ns
    assert not loop.judge(chunk).queued
    assert all(c.targets is None for c in loop.tick(5))
    loop.answer(begin_m=loop.measured[0].position[1])
    assert loop.tick(2)[1].targets is not None


def test_a_chunk_is_compared_with_the_arms_it_was_made_for(loop):
    """A slow model's answer begins where the arm was, which may be far behind by now."""
    seen = loop.measured
    chunk = loop.chunk()
    loop.now_ns += 600 * MS
    loop.measured = (arm(0.18),)
    assert not loop.judge(chunk).verdict.accepted
    assert loop.judge(chunk, arms=seen).verdict.accepted


@pytest.mark.parametrize(('opening', 'closed'), [(1.0, 0.1), (0.3, 0.95)])
def test_engaging_where_the_plan_is_over_leaves_the_gripper(embodiment, opening, closed):
    """A measured opening is no probability: it once closed a gripper that was open."""
    loop = Loop(embodiment)
    loop.measured = (replace(arm(), gripper=opening),)
    loop.closed = closed
    loop.answer()
    loop.tick(40)
    loop.now_ns -= 650 * MS
    late = loop.chunk(end_m=0.05, begin_m=0.05)
    loop.now_ns += 650 * MS
    loop.judge(late)
    loop.tick(9)
    loop.measured = (replace(loop.measured[0], gripper=opening),)
    loop.control.block('deadman', Reason('released', 'released'), loop.now_ns)
    loop.tick()
    loop.control.unblock('deadman')
    told = [c.targets[0].gripper for c in loop.tick(3) if c.targets]
    assert told
    assert all(np.isnan(g) or round(g) == round(1 - closed) for g in told)


def test_a_fault_stays_until_reset(loop):
    loop.answer()
    loop.tick(5)
    loop.control.fault(Reason('e-stop', 'e-stop pressed'), loop.now_ns)
    loop.control.fault(Reason('something', 'something later'), loop.now_ns)
    assert loop.tick()[0].targets is None
    assert loop.control.snapshot(loop.now_ns).message == 'e-stop pressed'
    assert loop.state == State.FAULT
    loop.control.reset(loop.now_ns)
    loop.answer()
    assert loop.tick()[0].targets is None, 'moved by what was seen before the reset'
    loop.answer()
    assert loop.tick()[0].targets is not None


def test_a_new_task_drops_the_old_plan_and_its_late_answers(loop):
    loop.answer()
    loop.tick(5)
    old = loop.epoch
    loop.epoch = loop.control.set_task('pick up the blue block')
    assert loop.tick()[0].targets is None
    assert loop.answer(epoch=old) is None
    assert loop.tick()[0].targets is None


def test_a_chunk_whose_task_ends_while_it_is_judged_says_nothing_of_the_next(loop, monkeypatch):
    """The new task was once told to hold for what was wrong with the old one's chunk."""
    check = loop.control._intake.check

    def check_while_the_task_changes(*arguments):
        verdict = check(*arguments)
        loop.control.set_task('pick up the blue block')
        return verdict

    monkeypatch.setattr(loop.control._intake, 'check', check_while_the_task_changes)
    assert loop.answer(begin_m=0.3, end_m=0.3) is None
    assert loop.state == State.WAITING


def test_running_dry_is_counted_only_after_the_first_chunk(loop):
    loop.tick(10)
    assert loop.control.snapshot(loop.now_ns).counters.starved_ticks == 0
    loop.answer()
    loop.tick(70)
    snapshot = loop.control.snapshot(loop.now_ns)
    assert 15 < snapshot.counters.starved_ticks < 25
    assert 'ran out' in snapshot.message


def test_a_rejected_chunk_moves_nothing_and_says_why(loop):
    verdict = loop.answer(begin_m=0.3, end_m=0.3).verdict
    assert not verdict.accepted
    assert loop.tick()[0].targets is None
    snapshot = loop.control.snapshot(loop.now_ns)
    assert snapshot.counters.rejected_chunks == 1
    assert snapshot.message == verdict.message


def test_home_is_reached_within_the_limits(loop, embodiment):
    loop.control.set_task('')
    end = arm(y_m=0.2)
    loop.control.go_home(HomeMotion(loop.measured, (end,), embodiment.limits, loop.now_ns))
    commands = [c for c in loop.tick(200) if c.targets]
    path = np.array([c.targets[0].position for c in commands])
    speeds = np.linalg.norm(np.diff(path, axis=0), axis=1) / (TICK_NS * 1e-9)
    assert np.allclose(path[-1], end.position, atol=2e-3)
    assert speeds.max() <= embodiment.limits.max_linear_speed_m_s
    assert loop.state == State.IDLE
