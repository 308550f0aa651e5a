# SPDX-License-Identifier: Apache-2.0
"""The inference loop: observe, predict, answer; one at a time, from the newest frames."""

from collections.abc import Callable
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.joint_data import PoseCheck
from xvla_ros.control.spaces import make_profile
from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError, Reason, reason_of, XvlaError
from xvla_ros.core.observation import Observation
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.committed import CommittedMotion
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.predictor import as_told, Predictor
from xvla_ros.runtime.process import ProcessorShare
from xvla_ros.runtime.worker_messages import (
    Answer,
    CheckpointFacts,
    Committed,
    Task,
    Timing,
    Tuning,
    Waiting,
)

# How long to wait for a frame before looking at the task again, and between attempts of a
# predictor that failed.
FRAME_TIMEOUT_S = 0.2
RETRY_PERIOD_S = 0.5
# The longest plan that a server is told of [s].
MOST_SLACK_S = 60.0


class InferenceLoop:
    """
    Answers observations of the current task.

    The main thread calls `run`; the thread that reads the link calls `tell`.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        predictor: Predictor,
        facts: CheckpointFacts,
        inputs: Inputs,
        clock: Clock,
        send: Callable[[object], None],
    ) -> None:
        """
        Store the parts.

        :param send: sends an Answer or a Waiting to the control side.
        """
        embodiment = as_told(embodiment, facts.first_anchor_index)
        self._embodiment, self._predictor, self._facts = embodiment, predictor, facts
        self._inputs, self._clock, self._send = inputs, clock, send
        self._profile, self._committed = make_profile(embodiment), CommittedMotion(embodiment)
        self._pose_check = PoseCheck(embodiment, facts.state_range)
        self._changed = threading.Condition()
        self._stopping, self._ended = False, threading.Event()
        self._task = Task(instruction='', epoch=0, active=False)
        self._plan = Committed()
        self._warm_start_time = embodiment.policy.warm_start_time
        self._count = 0
        self._trouble = Reason()
        self._free_ns = time.monotonic_ns()
        self.last_ns = 0  # stamp of the oldest image of the last answer

    def tell(self, message: object) -> None:
        """Receive a Task, a Committed or a Tuning from the control side."""
        with self._changed:
            if isinstance(message, Tuning):
                self._warm_start_time = message.embodiment.policy.warm_start_time
            if isinstance(message, Task):
                self._task, self._plan, self._count = message, Committed(), 0
            elif isinstance(message, Committed) and message.epoch == self._task.epoch:
                self._plan = message
            self._changed.notify_all()

    def stop(self, timeout_s: float) -> None:
        """End `run`, and wait until it has returned."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._ended.wait(timeout_s)

    def run(self) -> None:
        """Answer observations until `stop` is called."""
        while task := self._next_task():
            self._free_ns = time.monotonic_ns()
            # A clock that was set back makes new frames older than the last.
            self.last_ns = min(self.last_ns, self._clock.now_ns())
            if self._inputs.wait_for_frame(self.last_ns, FRAME_TIMEOUT_S):
                started = time.monotonic()
                pause_s = self.attempt(task)
                if pause_s is None:
                    busy_s = time.monotonic() - started
                    pause_s = self._embodiment.control.replan_period_s - busy_s
                self._pause(pause_s)
        self._ended.set()

    def attempt(self, task: Task) -> float | None:
        """
        Answer once, or report why that is not possible.

        :return: how long to wait before the next attempt [s]; None after an answer.
        """
        try:
            self.last_ns = self._answer(task)
        except ObservationError as error:
            self._report(reason_of(error))
            return FRAME_TIMEOUT_S
        except XvlaError as error:
            self._report(reason_of(error))
            return RETRY_PERIOD_S
        return None

    def _next_task(self) -> Task | None:
        """Wait for an active task and return it; None after `stop`."""
        if not self._task.active:
            self._report(Reason())  # what the last task lacked no longer matters
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._task.active)
            return None if self._stopping else self._task

    def _pause(self, duration_s: float) -> None:
        """Wait; a new task or `stop` ends the wait."""
        with self._changed:
            epoch = self._task.epoch
            if duration_s > 0:
                self._changed.wait_for(
                    lambda: self._stopping or self._task.epoch != epoch, duration_s
                )

    def _report(self, trouble: Reason) -> None:
        """Report why no answer is possible, when the reason changes."""
        if trouble != self._trouble:
            self._send(Waiting(source='observation', reason=trouble))
        self._trouble = trouble

    def _answer(self, task: Task) -> int:
        """Predict once and send the chunk; return the stamp of its oldest image."""
        ready_ns = time.monotonic_ns()
        observation = self._inputs.observe(task.instruction)
        self._pose_check.check(observation.arms)
        frozen_ns, now_ns = time.monotonic_ns(), self._clock.now_ns()
        image_ns = min(
            ns for name, ns in observation.stamps_ns.items() if name.startswith('camera ')
        )
        plan = self._plan
        commanded = self._committed.commanded(plan.upcoming, observation.stamp_ns)
        proprio = self._padded(self._profile.proprio(observation.arms, commanded, plan.executed))
        share, asked_ns = ProcessorShare(), time.monotonic_ns()
        raw = self._predict(observation, proprio, plan)
        answered_ns = time.monotonic_ns()
        self._count += 1
        kept = self._committed.kept(raw, plan, observation.stamp_ns)
        chunk = self._profile.chunk(
            kept, observation.stamp_ns, self._count, commanded or observation.arms
        )
        timing = Timing(
            image_age_s=(now_ns - image_ns) / NANOSECONDS,
            preprocess_s=(asked_ns - ready_ns) / NANOSECONDS,
            inference_s=(answered_ns - asked_ns) / NANOSECONDS,
            processor_share=share.measure(),
            image_ns=image_ns,
            passed_ns=(self._free_ns, ready_ns, frozen_ns, asked_ns, answered_ns),
        )
        self._report(Reason())  # before the answer, which a reported reason would refuse
        arms = tuple(observation.arms)
        self._send(Answer(chunk=chunk, arms=arms, epoch=task.epoch, timing=timing))
        return image_ns

    def _padded(self, proprio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vector with the zeros that a checkpoint of joints has behind it."""
        missing = (self._facts.dim_proprio or 0) - len(proprio)
        if missing <= 0 or not self._embodiment.joint_space:
            return proprio
        return np.pad(proprio, (0, missing))

    def _predict(
        self, observation: Observation, proprio: NDArray[np.float32], plan: Committed
    ) -> NDArray[np.float32]:
        settings, upcoming, stamp_ns = self._embodiment.policy, plan.upcoming, observation.stamp_ns
        most = (self._facts.num_actions or 1) - 1
        return self._predictor.predict(
            list(observation.images),
            proprio,
            observation.instruction,
            settings.domain_id,
            steps=settings.denoising_steps,
            noise=self._noise(stamp_ns),
            prefix=self._committed.prefix(upcoming, stamp_ns, plan.firm_s, most),
            tolerance=(settings.tolerance_mm, settings.tolerance_deg)
            if settings.tolerance_mm > 0
            else None,
            warm_start=self._warm_start(upcoming, stamp_ns),
            **self._slack(upcoming),
        )

    def _slack(self, upcoming: Chunk | None) -> dict[str, Any]:
        """
        Return how long the plan still lasts [s], for a server; a model here is asked by one.

        And how few denoising steps that may spend, where the settings allow fewer.
        """
        if not self._embodiment.policy.server_url:
            return {}
        left_ns = upcoming.end_ns - self._clock.now_ns() if upcoming else 0
        least = self._embodiment.policy.least_denoising_steps
        allowed = {'least_steps': least} if least else {}
        return {'slack_s': min(max(left_ns / NANOSECONDS, 0.0), MOST_SLACK_S), **allowed}

    def _warm_start(self, upcoming: Chunk | None, stamp_ns: int) -> WarmStart | None:
        """Return the plan as a first guess of the answer, if a warm start is set."""
        time, count = self._warm_start_time, self._facts.num_actions
        if not time:
            return None
        plan = self._committed.guess(upcoming, stamp_ns, count) if count else None
        return WarmStart(plan=plan, time=time)

    def _noise(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Return noise that depends only on seed and stamp, so that a replay draws the same."""
        seed, facts = self._embodiment.policy.seed, self._facts
        if seed < 0 or facts.num_actions is None or facts.dim_noise is None:
            return None
        generator = np.random.default_rng([seed, stamp_ns])
        return generator.standard_normal((facts.num_actions, facts.dim_noise)).astype(np.float32)
