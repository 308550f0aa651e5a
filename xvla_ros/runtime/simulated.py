# SPDX-License-Identifier: Apache-2.0
"""
Control and inference of a policy in one thread, on a simulated clock.

Ticks, input checks, inferences and answers happen in the order of their times. Equal inputs
therefore give equal targets to the last bit. A replay and an evaluation differ in who advances the
clock and where the inputs come from.
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
    """A clock that moves only when `advance` is called, and only forwards."""

    def __init__(self) -> None:
        """Begin at time 0."""
        self._now_ns = 0

    def now_ns(self) -> int:
        """Return the present [ns]."""
        return self._now_ns

    def advance(self, now_ns: int) -> None:
        """Advance to a time; do nothing when it has passed."""
        self._now_ns = max(self._now_ns, now_ns)


class Loop(Protocol):
    """Answers observations: an InferenceLoop, or a recording of answers."""

    last_ns: int

    def tell(self, message: object) -> None:
        """Take a Task or a Committed."""

    def attempt(self, task: Task) -> float | None:
        """Answer once; return None, or how long to wait when that is not possible [s]."""


class Schedule(Protocol):
    """When inferences begin and end."""

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
        """Return whether to begin an inference now."""

    def due_ns(self, now_ns: int) -> int:
        """Return when an inference that begins now has its answer."""

    def next_ns(self, now_ns: int) -> int:
        """Return when the next may begin after one that begins now."""


class FixedLatency:
    """Inferences one after the other, as in the live worker; each takes the same time."""

    def __init__(self, latency_s: float, replan_period_s: float) -> None:
        """Store how long an answer takes, and the least time between two inferences."""
        self._latency_ns = round(latency_s * NANOSECONDS)
        self._period_ns = max(round(replan_period_s * NANOSECONDS), self._latency_ns)

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
        """Return whether there are new frames."""
        return inputs.wait_for_frame(loop.last_ns, 0.0)

    def due_ns(self, now_ns: int) -> int:
        """Return when an inference that begins now has its answer."""
        return now_ns + self._latency_ns

    def next_ns(self, now_ns: int) -> int:
        """Return when the next may begin after one that begins now."""
        return now_ns + self._period_ns


class _Worker:
    """The inference side in simulated time: one inference at a time, from the newest frames."""

    def __init__(self, inputs: Inputs, schedule: Schedule) -> None:
        """Begin without a task; the caller must set `loop`."""
        self._inputs, self._schedule = inputs, schedule
        self.loop: Loop | None = None
        self._task = Task(instruction='', epoch=0, active=False)
        self._answer: Answer | None = None
        self._free_ns = 0
        self.due_ns, self.retry_ns = NEVER_NS, NEVER_NS

    def tell(self, message: object) -> None:
        """Receive a Task or a Committed. An answer to an earlier task is dropped by its epoch."""
        if isinstance(message, Task):
            self._task = message
        if self.loop:
            self.loop.tell(message)

    def keep(self, answer: Answer) -> None:
        """Keep an answer until it is due."""
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
        Connect control and inference.

        :param make_loop: makes the loop; its argument receives the loop's answers.
        :param ticked: called with every control tick and its time.
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
        """Begin anew at a time, armed. The first tick is then, or at another given time."""
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
        """Begin an inference if one may begin; call this after new inputs."""
        self._worker.look(self._clock.now_ns())

    def advance(self, until_ns: int) -> None:
        """Run everything that is due before a time, in order, then advance to that time."""
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
