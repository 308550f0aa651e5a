# SPDX-License-Identifier: Apache-2.0
"""
Both sides of a policy in one thread, on a clock that somebody advances.

Ticks, looks at the inputs, inferences and their answers happen in the order of their times, so
that the same inputs give the same targets to the last bit. A replay and an evaluation differ by
who advances the clock and where inputs come from.
"""

from collections.abc import Callable
from typing import Protocol

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.runtime.inputs import Arms, Inputs, InputWatch, WATCH_PERIOD_S
from xvla_ros.runtime.policy import Outputs, PolicyRuntime, Ticked
from xvla_ros.runtime.worker_messages import Answer, Task, Waiting

NEVER_NS = 2**63 - 1


class SimulatedClock:
    """A clock that goes only forwards, and only when it is told to."""

    def __init__(self) -> None:
        """Begin before everything."""
        self._now_ns = 0

    def now_ns(self) -> int:
        """Return the present [ns]."""
        return self._now_ns

    def advance(self, now_ns: int) -> None:
        """Go on to a time, unless it has passed."""
        self._now_ns = max(self._now_ns, now_ns)


class Loop(Protocol):
    """What answers observations: InferenceLoop, or one that has its answers already."""

    last_ns: int

    def tell(self, message: object) -> None:
        """Take a Task or a Committed."""

    def attempt(self, task: Task) -> float | None:
        """Answer once; return how long to pause when it could not [s]."""


class Schedule(Protocol):
    """When inferences happen."""

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
        """Tell whether to begin an inference now."""

    def due_ns(self, now_ns: int) -> int:
        """Return when an inference that begins now has its answer."""

    def next_ns(self, now_ns: int) -> int:
        """Return when the next may begin after one that begins now."""


class FixedLatency:
    """Inferences as the live worker makes them, each taking the same time."""

    def __init__(self, latency_s: float, replan_period_s: float) -> None:
        """Give how long an answer takes, and the least time between two inferences."""
        self._latency_ns = round(latency_s * NANOSECONDS)
        self._period_ns = max(round(replan_period_s * NANOSECONDS), self._latency_ns)

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
        """Tell whether there is something new to look at."""
        return inputs.wait_for_frame(loop.last_ns, 0.0)

    def due_ns(self, now_ns: int) -> int:
        """Return when an inference that begins now has its answer."""
        return now_ns + self._latency_ns

    def next_ns(self, now_ns: int) -> int:
        """Return when the next may begin after one that begins now."""
        return now_ns + self._period_ns


class _Worker:
    """The inference side in simulated time: one inference in flight, newest observation wins."""

    def __init__(self, inputs: Inputs, schedule: Schedule) -> None:
        """Begin without a task; `loop` is to be set."""
        self._inputs, self._schedule = inputs, schedule
        self.loop: Loop | None = None
        self._task = Task(instruction='', epoch=0, active=False)
        self._answer: Answer | None = None
        self._free_ns = 0
        self.due_ns, self.retry_ns = NEVER_NS, NEVER_NS

    def tell(self, message: object) -> None:
        """Take a Task or a Committed; an answer to the task before is known by its epoch."""
        if isinstance(message, Task):
            self._task = message
        if self.loop:
            self.loop.tell(message)

    def keep(self, answer: Answer) -> None:
        """Hold back an answer until it is due."""
        self._answer = answer

    def take(self) -> Answer | None:
        """Return the answer that is due."""
        answer, self._answer, self.due_ns = self._answer, None, NEVER_NS
        return answer

    def look(self, now_ns: int) -> None:
        """Begin an inference when one may begin."""
        self.retry_ns = NEVER_NS
        if self.loop is None or not self._task.active or self.due_ns != NEVER_NS:
            return
        if now_ns < self._free_ns:
            self.retry_ns = self._free_ns
        elif self._schedule.wants(now_ns, self._inputs, self.loop):
            pause_s = self.loop.attempt(self._task)
            if pause_s is None:
                self._free_ns = self._schedule.next_ns(now_ns)
                self.due_ns = self._schedule.due_ns(now_ns)
            else:
                self._free_ns = now_ns + round(pause_s * NANOSECONDS)


class SimulatedRun:
    """One policy in simulated time: `begin` once, then `advance` and, after new inputs, `look`."""

    def __init__(
        self,
        embodiment: Embodiment,
        clock: SimulatedClock,
        arms: Arms,
        inputs: Inputs,
        outputs: Outputs,
        make_loop: Callable[[Callable[[object], None]], Loop],
        schedule: Schedule,
        ticked: Callable[[int, Ticked], None] = lambda now_ns, ticked: None,
    ) -> None:
        """
        Connect both sides.

        :param make_loop: returns what answers, given what takes its answers.
        :param ticked: told of every control tick, with its time.
        """
        self._clock, self._ticked = clock, ticked
        self._worker = _Worker(inputs, schedule)
        self.runtime = PolicyRuntime(embodiment, clock, arms, outputs, self._worker.tell)
        self._worker.loop = make_loop(self._hear)
        self._watch = InputWatch(inputs, self._hear, lambda: clock.now_ns() / NANOSECONDS)
        self._period_ns = round(NANOSECONDS / embodiment.control.rate_hz)
        self._watch_ns = round(WATCH_PERIOD_S * NANOSECONDS)
        self._tick_ns = self._look_ns = NEVER_NS

    def begin(self, start_ns: int, first_tick_ns: int | None = None) -> None:
        """Begin anew at a time, armed; ticks begin there too unless another time is given."""
        self._clock.advance(start_ns)
        self.runtime.control.activate()
        self.runtime.control.set_armed(True)
        self._tick_ns = start_ns if first_tick_ns is None else first_tick_ns
        self._look_ns = start_ns

    def _hear(self, message: object) -> None:
        if isinstance(message, Answer):
            self._worker.keep(message)
        elif isinstance(message, Waiting):
            self.runtime.hear(message)

    def look(self) -> None:
        """Begin an inference when one may begin: call when there are new inputs."""
        self._worker.look(self._clock.now_ns())

    def advance(self, until_ns: int) -> None:
        """Do all that happens before a time, in its order, then go on to that time."""
        while True:
            events = (
                (self._worker.due_ns, self._on_due),
                (self._worker.retry_ns, self._worker.look),
                (self._look_ns, self._on_look),
                (self._tick_ns, self._on_tick),
            )
            when_ns, event = min(events, key=lambda item: item[0])
            if when_ns >= until_ns or when_ns == NEVER_NS:
                break
            self._clock.advance(when_ns)
            event(when_ns)
        self._clock.advance(until_ns)

    def _on_due(self, now_ns: int) -> None:
        answer = self._worker.take()
        if answer:
            self.runtime.hear(answer)
        self._worker.look(now_ns)

    def _on_look(self, now_ns: int) -> None:
        self._look_ns = now_ns + self._watch_ns
        self._watch.look()

    def _on_tick(self, now_ns: int) -> None:
        self._tick_ns = now_ns + self._period_ns
        ticked = self.runtime.tick(now_ns)
        self.runtime.withdraw_plan()
        self._ticked(now_ns, ticked)
