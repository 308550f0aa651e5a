# SPDX-License-Identifier: Apache-2.0
"""Runs requests on one model: they wait in a queue, and one thread answers them in batches."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
import logging
from threading import Condition, Thread
import time

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import InferenceError, XvlaError
from xvla_ros.serve.requests import InferenceRequest, RequestError

log = logging.getLogger(__name__)

# Most waiting requests; further ones get 503.
WAITING = 32
# Assumed duration of a robot's plan if the request does not give it [s]: one chunk of X-VLA.
PLAN_S = 3.0

Predict = Callable[[Sequence[InferenceRequest]], list[NDArray[np.float32]]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """One waiting request, the end of its robot's plan (monotonic), and its future answer."""

    request: InferenceRequest
    key: Hashable
    deadline_s: float
    answer: 'Future[NDArray[np.float32]]' = field(default_factory=Future)


class Pace:
    """How long batches of a number of steps and of requests took lately [s]. One thread."""

    def __init__(self) -> None:
        """Know nothing."""
        self._took_s: dict[int, dict[int, float]] = {}

    def learn(self, steps: int, count: int, took_s: float) -> None:
        """Remember one batch; it counts half against all before."""
        known = self._took_s.setdefault(steps, {})
        known[count] = (known.get(count, took_s) + took_s) / 2

    def expected_s(self, steps: int, count: int) -> float:
        """
        Return how long a batch will take: as the nearest size did, 0 when none is known.

        It is at most what one of fewer steps would take for each of its steps, so that a single
        slow batch is forgotten though fewer steps are spent from then on.
        """
        if steps not in self._took_s:
            return 0.0
        each = (_nearest(k, count) * steps / n for n, k in self._took_s.items() if n <= steps)
        return min(each)


def _nearest(took_s: dict[int, float], count: int) -> float:
    """Return the time of the batch whose size is nearest."""
    return took_s[min(took_s, key=lambda size: abs(size - count))]


class Batcher:
    """
    Runs requests on a model that allows one caller at a time.

    The request whose robot's plan ends first goes first, together with those that may share its
    batch, in the same order. A request without `slack_s` counts as one whose plan ends PLAN_S
    after its arrival; among such requests the oldest goes first.
    A request that allows fewer denoising steps (`least_steps`) gets that many when its answer
    with all steps would come too late, judged by how long such batches took. Those that share
    its batch allow as few. No other request gets fewer steps than it asked for.
    `submit` may be called from any thread; only this object's own thread calls `predict`.

    :param predict: answers requests of one key.
    :param key: requests with equal keys may run together; None runs alone.
    :param most: requests per batch. :param waiting: most waiting requests; further ones are
        refused.
    """

    def __init__(
        self,
        predict: Predict,
        key: Callable[[InferenceRequest], Hashable],
        most: int = 8,
        waiting: int = WAITING,
    ) -> None:
        self._predict, self._key = predict, key
        self._most, self._waiting = most, waiting
        self._line: deque[Job] = deque()
        self._changed = Condition()
        self._open = True
        self._pace = Pace()
        self._thread = Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def submit(self, request: InferenceRequest) -> 'Future[NDArray[np.float32]]':
        """
        Add a request to the queue; cancelling the future removes it while it waits.

        :raises RequestError: the queue is full (503).
        :raises InferenceError: the batcher is closed.
        """
        slack_s = PLAN_S if request.slack_s is None else request.slack_s
        deadline_s = time.monotonic() + slack_s
        job = Job(request=request, key=self._key(request), deadline_s=deadline_s)
        with self._changed:
            if not self._open:
                raise InferenceError('the server is shutting down')
            if len(self._line) >= self._waiting:
                self._line = deque(other for other in self._line if not other.answer.cancelled())
            if len(self._line) >= self._waiting:
                raise RequestError(f'busy: {len(self._line)} requests are waiting already', 503)
            self._line.append(job)
            self._changed.notify()
        return job.answer

    def close(self, timeout_s: float = 10.0) -> None:
        """Refuse waiting requests, let the running batch finish, and join the thread."""
        with self._changed:
            self._open = False
            left, self._line = list(self._line), deque()
            self._changed.notify_all()
        for job in left:
            if job.answer.set_running_or_notify_cancel():
                job.answer.set_exception(InferenceError('the server is shutting down'))
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or not self._open)
                if not self._open:
                    return
                jobs = self._take()
            jobs = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
            if jobs:
                self._answer(jobs)

    def _take(self) -> list[Job]:
        """Take the most urgent job and those that share its batch, in order. Holds the lock."""
        in_order = sorted(self._line, key=lambda job: job.deadline_s)
        first = in_order[0]
        self._line.remove(first)
        if first.key is None:
            return [first]
        alike = [job for job in in_order[1:] if job.key == first.key]
        jobs = [first, *alike[: self._most - 1]]
        steps = first.request.steps
        if self._too_late(first, len(jobs)):
            steps = first.request.least_steps or steps
            fellows = [job for job in alike if _least_steps(job) <= steps]
            jobs = [first, *fellows[: self._most - 1]]
        for job in jobs[1:]:
            self._line.remove(job)
        return [replace(job, request=replace(job.request, steps=steps)) for job in jobs]

    def _too_late(self, first: Job, count: int) -> bool:
        """Tell whether a robot's plan would end before an answer with all steps."""
        if first.request.slack_s is None:
            return False
        ready_s = time.monotonic() + self._pace.expected_s(first.request.steps, count)
        return ready_s > first.deadline_s

    def _answer(self, jobs: list[Job]) -> None:
        """Run one batch; if it fails, run each request alone."""
        begun_s = time.monotonic()
        try:
            answers = self._predict([job.request for job in jobs])
            if len(answers) != len(jobs):
                raise InferenceError(f'{len(answers)} answers to {len(jobs)} requests')
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
                return
            if not isinstance(error, XvlaError):
                log.exception('inference failed')
            jobs[0].answer.set_exception(error)
            return
        if jobs[0].key is not None:
            self._pace.learn(jobs[0].request.steps, len(jobs), time.monotonic() - begun_s)
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)


def _least_steps(job: Job) -> int:
    """Return how few steps a request allows."""
    return job.request.least_steps or job.request.steps
