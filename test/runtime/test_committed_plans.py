# SPDX-License-Identifier: Apache-2.0
"""What the worker is told of the plan: what is being executed, and nothing when nothing is."""

import numpy as np
import pytest

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.committed import CommittedPlans
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.worker_messages import Answer, Timing

MS = 1_000_000
TICK_NS = 20 * MS
GONE = Reason('camera main', 'camera main: gone')


def arm(y_m=0.0):
    return ArmPose(position=(0.45, y_m, 0.30), quaternion=(1.0, 0.0, 0.0, 0.0), gripper=1.0)


class Told:
    """A policy's wiring on an injected clock; the robot is always where it was told to be."""

    def __init__(self, **overrides):
        asked = {'policy.proprio_source': 'commanded', **overrides}
        embodiment = load_embodiment(shared_file('config', 'franka_sim.yaml'), asked)
        self.control = PolicyControl(embodiment)
        self.plans = CommittedPlans(embodiment, self.control, self.take)
        self.now_ns, self.measured, self.plan = 10_000 * MS, (arm(),), None
        self.epoch = self.control.set_task('pick up the red block')

    def take(self, plan):
        self.plan = plan

    def answer(self, epoch=None):
        """Let a chunk arrive that leads 8 cm further within three seconds."""
        begin = self.measured[0].position[1]
        rows = [pack([arm(y)], 'interleaved') for y in np.linspace(begin, begin + 0.08, 30)]
        chunk = Chunk(stamp_ns=self.now_ns, period_s=0.1, actions=np.array(rows))
        self.now_ns += 10 * MS
        asked = self.epoch if epoch is None else epoch
        answer = Answer(chunk=chunk, arms=self.measured, epoch=asked, timing=Timing())
        judged = self.control.judge(answer, self.now_ns)
        if judged:
            self.plans.judged(judged, asked, self.now_ns)
        return judged

    def tick(self, count=10):
        """Tick; as the nodes do, look at the state after each."""
        for _ in range(count):
            self.now_ns += TICK_NS
            command = self.control.tick(self.now_ns, self.measured, Reason())
            if command and command.targets:
                self.measured = command.targets
            self.plans.withdraw()


def moving(**overrides):
    told = Told(**overrides)
    told.answer()
    told.tick()
    told.answer()
    told.tick()
    assert told.plan.upcoming is not None
    assert told.plan.executed is not None
    assert told.plan.epoch == told.epoch
    return told


def test_a_plan_is_told_while_it_is_executed():
    told = moving()
    ahead = told.plan.upcoming.actions[:, 1]
    assert ahead[0] > 0
    assert ahead[-1] > told.measured[0].position[1]


@pytest.mark.parametrize(
    'stop',
    [
        lambda control, now_ns: control.fault(Reason('e-stop', 'e-stop pressed'), now_ns),
        lambda control, now_ns: control.block('deadman', Reason('released', 'released'), now_ns),
        lambda control, now_ns: control.block('inputs', GONE, now_ns),
        lambda control, now_ns: control.set_armed(False),
    ],
)
def test_a_plan_is_withdrawn_when_the_robot_stops(stop):
    told = moving()
    stop(told.control, told.now_ns)
    told.tick(1)
    assert told.plan.upcoming is None
    assert told.plan.executed is None
    told.answer()
    assert told.plan.upcoming is None, 'told again though nothing moves'


def test_a_dry_run_tells_no_plan():
    told = Told(**{'control.start_armed': False})
    told.answer()
    told.tick()
    told.answer()
    assert told.plan.upcoming is told.plan.executed is None


def test_a_chunk_that_was_not_queued_was_not_executed():
    told = moving()
    executed = told.plan.executed
    told.now_ns -= 300 * MS  # an answer to what was seen before the last one
    assert not told.answer().queued
    assert told.plan.executed is executed


def test_the_last_task_s_chunk_is_not_this_one_s():
    told = moving()
    old, told.epoch = told.epoch, told.control.set_task('another')
    assert told.answer(epoch=old) is None
    told.answer()
    assert told.plan.epoch == told.epoch
    assert told.plan.executed.stamp_ns == told.now_ns - 10 * MS


def test_who_does_not_ask_is_not_told():
    told = Told(**{'policy.proprio_source': 'measured'})
    told.answer()
    told.tick()
    assert told.plan is None


def test_a_warm_start_asks():
    assert moving(**{'policy.proprio_source': 'measured', 'policy.warm_start_time': 0.1}).plan
