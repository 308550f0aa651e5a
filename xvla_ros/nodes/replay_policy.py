# SPDX-License-Identifier: Apache-2.0
"""
The policy on a bag: the parts of the live node, driven by the bag's clock instead of threads.

Bag -> observation -> predictor -> gate -> queue -> gate -> targets, all in one thread and in the
order of the bag's times, so that the same bag gives the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.safety import Verdict
from xvla_ros.nodes.arm_state import ArmStates
from xvla_ros.nodes.inference_inputs import ObservationInputs
from xvla_ros.nodes.inference_worker import InputWatch, WATCH_PERIOD_S
from xvla_ros.nodes.policy_control import PolicyControl
from xvla_ros.nodes.policy_plan import CommittedPlans
from xvla_ros.nodes.policy_state import Command, Counters, State
from xvla_ros.nodes.policy_thread import ArmReader
from xvla_ros.nodes.replay_inputs import BagClock, BagNode, with_recorded_descriptions
from xvla_ros.nodes.replay_worker import Loop, NEVER_NS, ReplayedWorker
from xvla_ros.nodes.worker_link import Answer, Task, Waiting
from xvla_ros.replay.bag import Bag
from xvla_ros.replay.mcap_file import Raw


class Outcome(Protocol):
    """Takes what a replay decides, as it does."""

    def tick(self, now_ns: int, command: Command, state: State, message: str) -> None:
        """Take one control tick."""

    def chunk(self, chunk: Chunk, verdict: Verdict, measured: Sequence[ArmPose]) -> None:
        """Take one judged chunk."""

    def measured(self, now_ns: int, arms: Sequence[ArmPose]) -> None:
        """Take where the arms were at a tick."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tasks:
    """
    What the policy is told to do.

    instruction: from the first tick on, whatever the bag says; empty: what the bag says. topic:
    the bag's name of the topic that says it.
    """

    instruction: str = ''
    topic: str | None = None
    read: Callable[[Raw], str] = field(default=lambda raw: '')


class ReplayedPolicy:
    """One policy on one bag. `run` may be called once."""

    def __init__(self, bag: Bag, embodiment: Embodiment, offset_ns: int, outcome: Outcome) -> None:
        """
        Connect the inputs to the bag.

        :param offset_ns: how far the recorder's clock is ahead of the one that stamps are from.
        """
        embodiment = with_recorded_descriptions(bag, embodiment)
        self._bag, self._embodiment, self._offset_ns = bag, embodiment, offset_ns
        self._outcome = outcome
        self.clock = BagClock()
        self.node = BagNode(self.clock, bag.topics)
        self.inputs = ObservationInputs(self.node, embodiment)
        self.control = PolicyControl(embodiment)
        states = ArmStates(self.node, embodiment)
        self._arms = ArmReader(embodiment, states, self.clock)
        self._watch = InputWatch(self.inputs, self)
        self._worker: ReplayedWorker | None = None

    def send(self, message: object) -> None:
        """Take what the worker's parts send to the control process."""
        if isinstance(message, Answer):
            self._worker.keep(message)
        elif isinstance(message, Waiting):
            if message.reason:
                self.control.block(message.source, message.reason, self.clock.now_ns)
            else:
                self.control.unblock(message.source)

    def run(
        self, make_worker: Callable[['ReplayedPolicy'], tuple[Loop, ReplayedWorker]], tasks: Tasks
    ) -> Counters:
        """
        Replay all of the bag; return what was counted.

        :raises ObservationError: a message cannot be read.
        """
        self._loop, self._worker = make_worker(self)
        self._plans = CommittedPlans(self._embodiment, self.control, self._loop.tell)
        self.control.activate()
        self.control.set_armed(True)
        period_ns = round(NANOSECONDS / self._embodiment.control.rate_hz)
        watch_ns = round(WATCH_PERIOD_S * NANOSECONDS)
        start_ns = self._bag.start_ns - self._offset_ns
        self._ticks, self._looks = (start_ns + period_ns, period_ns), (start_ns, watch_ns)
        if tasks.instruction:
            self.clock.advance(start_ns)
            self._follow(tasks.instruction)
        wanted = set(self.node.topics) | ({tasks.topic} if not tasks.instruction else set())
        for raw in self._bag.messages(wanted):
            time_ns = raw.time_ns - self._offset_ns
            self._catch_up(time_ns)
            self.clock.advance(time_ns)
            if raw.topic == tasks.topic and not tasks.instruction:
                self._follow(tasks.read(raw))
            self.node.deliver(raw)
            self._worker.look(time_ns)
        self._catch_up(self._bag.end_ns - self._offset_ns)
        return self.control.snapshot(self.clock.now_ns).counters

    def _catch_up(self, until_ns: int) -> None:
        """Do all that happens before a time, in its order."""
        while True:
            events = (
                (self._worker.due_ns, self._on_due),
                (self._worker.retry_ns, self._on_retry),
                (self._looks[0], self._on_look),
                (self._ticks[0], self._on_tick),
            )
            when_ns, event = min(events, key=lambda item: item[0])
            if when_ns >= until_ns or when_ns == NEVER_NS:
                return
            self.clock.advance(when_ns)
            event(when_ns)

    def _on_due(self, now_ns: int) -> None:
        """Judge the answer that is there, as PolicyCore does when the worker sends it."""
        answer = self._worker.take()
        try:
            measured = self._arms.read()
        except ObservationError:
            answer = None
        judged = self.control.judge(answer, now_ns) if answer else None
        if judged is not None:
            self._outcome.chunk(judged.chunk, judged.verdict, measured)
            self._plans.judged(judged, answer.epoch, now_ns)
        self._worker.look(now_ns)

    def _on_retry(self, now_ns: int) -> None:
        self._worker.look(now_ns)

    def _on_look(self, now_ns: int) -> None:
        self._looks = (now_ns + self._looks[1], self._looks[1])
        self._watch.look()

    def _on_tick(self, now_ns: int) -> None:
        """Tick, as ControlThread does."""
        self._ticks = (now_ns + self._ticks[1], self._ticks[1])
        measured, trouble = None, ''
        try:
            measured = self._arms.read()
            self._outcome.measured(now_ns, measured)
        except ObservationError as error:
            trouble = str(error)
        command = self.control.tick(now_ns, measured, trouble)
        self._plans.withdraw()
        snapshot = self.control.snapshot(now_ns)
        if command is not None:
            self._outcome.tick(now_ns, command, snapshot.state, snapshot.message)

    def _follow(self, instruction: str) -> None:
        epoch = self.control.set_task(instruction)
        self._worker.follow(Task(instruction=instruction, epoch=epoch, active=bool(instruction)))
