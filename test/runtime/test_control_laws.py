# SPDX-License-Identifier: Apache-2.0
"""Nothing that was seen before a stop is executed after it, in whatever order things happen."""

from counts import FULL
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.state import DROP_PLAN
from xvla_ros.runtime.worker_messages import Answer, Timing

MS = 1_000_000
BEGIN_NS = 10_000 * MS
EMBODIMENT = load_embodiment(shared_file('config', 'franka_sim.yaml'))
ARM = ArmPose(position=(0.45, 0.0, 0.30), quaternion=(1.0, 0.0, 0.0, 0.0), gripper=0.0)

events = st.one_of(
    st.tuples(st.just('tick'), st.integers(1, 40)),
    st.tuples(st.just('answer'), st.integers(0, 300)),
    st.tuples(st.sampled_from(['block', 'unblock']), st.sampled_from([*DROP_PLAN, 'deadman'])),
    st.tuples(st.sampled_from(['fault', 'reset', 'task', 'blind']), st.just(0)),
)


class World:
    """A control loop, what happens to it, and the time from which on chunks may be executed."""

    def __init__(self):
        self.control = PolicyControl(EMBODIMENT)
        self.now_ns, self.not_before_ns = BEGIN_NS, 0
        self.stamps_ns, self.epochs = {}, {}
        self.epoch = self.control.set_task('pick up the red block')
        self.asked = [(BEGIN_NS, self.epoch)]  # the task at each time, as the worker is told it
        self.blocked, self.executed = set(), 0

    def tick(self, milliseconds):
        self.now_ns += milliseconds * MS
        command = self.control.tick(self.now_ns, (ARM,), Reason())
        self.blocked.discard('state')
        if command is None or command.targets is None:
            return
        plan = self.control._intake.queue.plan(self.now_ns - MS, 0.1, 1)
        assert self.stamps_ns[plan.sequence] >= self.not_before_ns, 'seen before a stop'
        assert self.epochs[plan.sequence] == self.epoch, 'an answer to another task'
        self.executed += 1

    def answer(self, age_ms):
        """Let an answer arrive to what was seen, and asked, a while ago."""
        stamp_ns = self.now_ns - age_ms * MS
        epoch = next((e for t, e in reversed(self.asked) if t <= stamp_ns), self.asked[0][1])
        actions = np.tile(pack([ARM], 'interleaved'), (10, 1))
        chunk = Chunk(stamp_ns=stamp_ns, period_s=0.1, actions=actions)
        answer = Answer(chunk=chunk, arms=(ARM,), epoch=epoch, timing=Timing())
        judged = self.control.judge(answer, self.now_ns)
        if judged:
            self.stamps_ns[judged[0].sequence], self.epochs[judged[0].sequence] = stamp_ns, epoch

    def block(self, source):
        self.control.block(source, Reason('gone', 'gone'), self.now_ns)
        self.stopped_by(source)

    def blind(self, _):
        """Lose the state of the arms for one tick."""
        self.control.tick(self.now_ns, None, Reason('arm arm', 'arm arm: silent'))
        self.stopped_by('state')

    def stopped_by(self, source):
        """Note a hold; one that went on already began earlier."""
        if source in DROP_PLAN and source not in self.blocked:
            self.not_before_ns = self.now_ns
        self.blocked.add(source)

    def unblock(self, source):
        self.control.unblock(source)
        self.blocked.discard(source)

    def fault(self, _):
        self.control.fault(Reason('e-stop', 'e-stop pressed'), self.now_ns)
        self.not_before_ns = self.now_ns

    def reset(self, _):
        self.control.reset(self.now_ns)
        self.not_before_ns = self.now_ns

    def task(self, _):
        self.epoch = self.control.set_task('pick up the blue block')
        self.asked.append((self.now_ns, self.epoch))


@settings(max_examples=10_000 if FULL else 300)
@given(st.lists(events, max_size=40))
def test_what_was_seen_before_a_stop_is_not_executed_after_it(happenings):
    world = World()
    for name, value in happenings:
        getattr(world, name)(value)


def test_the_law_is_not_kept_by_standing_still():
    world = World()
    for name, value in [('answer', 20), ('tick', 20), ('fault', 0), ('reset', 0), ('tick', 20),
                        ('answer', 30), ('tick', 20), ('answer', 10), ('tick', 20)]:  # fmt: skip
        getattr(world, name)(value)
    assert world.executed == 2
