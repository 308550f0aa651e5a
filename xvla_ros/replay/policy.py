# SPDX-License-Identifier: Apache-2.0
"""
Runs the live policy on a bag, with the bag's messages and the bag's clock.

Everything runs in one thread in the order of the bag's times, so that the same bag gives the same
bytes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.formats.storage import Raw
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.inputs.arm_state import ArmReader, ArmStates
from xvla_ros.inputs.observations import ObservationInputs
from xvla_ros.replay.graph import BagGraph, Transforms, with_recorded_descriptions
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.policy import Outputs, Ticked
from xvla_ros.runtime.simulated import Loop, Schedule, SimulatedClock, SimulatedRun
from xvla_ros.runtime.state import Counters, Snapshot

# Makes the inference loop from the inputs, the clock and the receiver of its answers.
MakeLoop = Callable[[Inputs, Clock, Callable[[object], None]], Loop]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tasks:
    """
    The instructions of the policy.

    instruction: used from the first tick on instead of the bag's; empty: the bag's. topic: the
    topic with the instructions in the bag.
    """

    instruction: str = ''
    topic: str | None = None
    read: Callable[[Raw], str] = field(default=lambda raw: '')


class ReplayedPolicy:
    """One policy on one bag. `run` may be called once."""

    def __init__(
        self,
        bag: Bag,
        embodiment: Embodiment,
        offset_ns: int,
        outputs: Outputs,
        make_loop: MakeLoop,
        schedule: Schedule,
        transforms: Transforms | None = None,
    ) -> None:
        """
        Connect the inputs to the bag.

        :param offset_ns: how far the recorder's clock is ahead of the stamps' clock.
        :param transforms: reads TF, if an arm's pose comes from it.
        """
        embodiment = with_recorded_descriptions(bag, embodiment)
        self._bag, self._offset_ns = bag, offset_ns
        self._period_ns = round(NANOSECONDS / embodiment.control.rate_hz)
        self._clock, self._graph = SimulatedClock(), BagGraph(bag.topics, transforms, offset_ns)
        inputs = ObservationInputs(self._graph, embodiment, self._clock)
        arms = ArmReader(embodiment, ArmStates(self._graph, embodiment), self._clock)
        self._run = SimulatedRun(
            embodiment, self._clock, arms, inputs, outputs,
            lambda send: make_loop(inputs, self._clock, send), schedule, self._on_tick,
        )  # fmt: skip
        self._ticked: Callable[[int, Ticked, Snapshot], None] = lambda *_: None

    def run(self, tasks: Tasks, ticked: Callable[[int, Ticked, Snapshot], None]) -> Counters:
        """
        Replay the whole bag; return the counters.

        :param ticked: called after every control tick with its time, its result and the state.
        """
        self._ticked = ticked
        start_ns = self._bag.start_ns - self._offset_ns
        self._run.begin(start_ns, first_tick_ns=start_ns + self._period_ns)
        if tasks.instruction:
            self._run.runtime.follow(tasks.instruction)
        wanted = set(self._graph.topics)
        if tasks.topic and not tasks.instruction:
            wanted.add(tasks.topic)
        for raw in self._bag.messages(wanted):
            self._run.advance(raw.time_ns - self._offset_ns)
            if raw.topic == tasks.topic and not tasks.instruction:
                self._run.runtime.follow(tasks.read(raw))
            self._graph.deliver(raw)
            self._run.look()
        self._run.advance(self._bag.end_ns - self._offset_ns)
        return self.snapshot().counters

    @property
    def unread(self) -> Counter[str]:
        """How many messages of each topic could not be read."""
        return self._graph.unread

    def snapshot(self) -> Snapshot:
        """Return the policy's current state."""
        return self._run.runtime.control.snapshot(self._clock.now_ns())

    def _on_tick(self, now_ns: int, ticked: Ticked) -> None:
        self._ticked(now_ns, ticked, self.snapshot())
