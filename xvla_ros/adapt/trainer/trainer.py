# SPDX-License-Identifier: Apache-2.0
"""Runs the stages of any recipe, step by step; a run that was stopped goes on exactly."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
import math

import torch

from xvla_ros.adapt.trainer.batches import Batch, BatchSource, to_device
from xvla_ros.adapt.trainer.objective import Objective, policy_losses, randomness, Student
from xvla_ros.adapt.trainer.optimisation import Descent, Optimiser, parameters_of, RunningMean
from xvla_ros.adapt.trainer.stages import Plan, Stage
from xvla_ros.core.errors import InferenceError


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """
    What a step did.

    number: of steps done, over the whole run. losses: by term, weighted, before the step. norms:
    of each part's gradient.
    """

    number: int
    stage: str
    losses: Mapping[str, float]
    norms: Mapping[str, float]

    @property
    def loss(self) -> float:
        """Return the sum of the terms."""
        return sum(self.losses.values())


class Trainer:
    """
    Trains a student on the batches of a source, by a plan.

    Batches, noise, flow times and dropout depend on the seed and the step alone. What `state`
    returns after any step therefore continues with the same losses, across stages too.
    """

    def __init__(
        self,
        student: Student,
        source: BatchSource,
        plan: Plan,
        descent: Descent,
        *,
        seed: int = 0,
        objectives: Mapping[str, Objective] | None = None,
        enter: Callable[[Stage, tuple[int, int]], None] | None = None,
        reduce: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """
        Prepare the first step.

        :param objectives: by stage; X-VLA's own loss without.
        :param enter: called when a stage begins, with its first step and the first after it.
        :param reduce: returns the mean of a tensor over all processes; None where there is one.
        """
        self.student, self.source, self.plan, self.seed = student, source, plan, seed
        self.optimiser = Optimiser(parameters_of(student.network, student.heads), descent)
        self.mean = RunningMean(student.network, descent.mean) if descent.mean else None
        self.objectives, self._enter_stage, self._reduce = objectives or {}, enter, reduce
        self.done, self._entered = 0, -1
        self._feed = Feed(source)

    def run(self, after: Callable[[Step], None]) -> None:
        """Take all steps that are left; `after` is called after each."""
        try:
            while self.done < self.plan.steps:
                after(self.step())
        finally:
            self._feed.close()

    def step(self) -> Step:
        """
        Take one step.

        :raises InferenceError: the loss is not finite; nothing has been changed by this step.
        """
        number, inside = self.plan.locate(self.done)
        stage = self.plan.stages[number]
        if number != self._entered:
            self._enter(number)
        self._modes(stage)
        batch = to_device(self._feed.take(self.done), self.student.device)
        losses = self._backward(stage, batch)
        self._share_gradients()
        norms = self.optimiser.step(stage, inside)
        if self.mean is not None:
            self.mean.update(self.student.network)
        self.done += 1
        return Step(number=self.done, stage=stage.name, losses=losses, norms=norms)

    def _enter(self, number: int) -> None:
        stage = self.plan.stages[number]
        self._feed.forget()
        self.optimiser.enter(stage)
        self._modes(stage)
        if self._enter_stage:
            self._enter_stage(stage, self.plan.span(number))
        self._entered = number

    def _modes(self, stage: Stage) -> None:
        """Let dropout work in what is trained, and in the core; a frozen encoder has none."""
        self.student.network.train()
        if 'vlm' not in stage.rates:
            torch.nn.Module.eval(self.student.network.vlm)

    def _backward(self, stage: Stage, batch: Batch) -> dict[str, float]:
        objective = self.objectives.get(stage.name, policy_losses)
        with randomness(self.seed, self.done, self.student.rank) as generator:
            terms = objective(self.student, batch, generator)
            total = torch.stack(list(terms.values())).sum()
            values = {name: self._mean(term.detach()) for name, term in terms.items()}
            if not all(map(math.isfinite, values.values())):
                raise InferenceError(
                    f'step {self.done + 1}: the loss is {values}, expected finite numbers; '
                    'nothing was changed'
                )
            total.backward()
        return values

    def _mean(self, term: torch.Tensor) -> float:
        return float(self._reduce(term.clone()) if self._reduce else term)

    def _share_gradients(self) -> None:
        """Replace gradients by their mean over all processes, as one message."""
        if self._reduce is None:
            return
        gradients = [p.grad for p in self.optimiser.trained() if p.grad is not None]
        whole = self._reduce(torch.cat([g.flatten() for g in gradients]))
        for gradient, part in zip(
            gradients, whole.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))

    def state(self) -> dict[str, object]:
        """Return all that the next steps depend on, as tensors and plain values."""
        heads, mean = self.student.heads, self.mean
        return {
            'done': self.done,
            'facts': self.facts(),
            'network': self.student.network.state_dict(),
            'heads': None if heads is None else heads.state_dict(),
            'optimiser': self.optimiser.adam.state_dict(),
            'mean': None if mean is None else {'updates': mean.updates, 'state': mean.state},
        }

    def facts(self) -> dict[str, object]:
        """Return what must be the same in a run that goes on."""
        stages = {f'stage {n}': str(stage) for n, stage in enumerate(self.plan.stages, 1)}
        return {'seed': self.seed, **stages, **self.source.facts()}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on after the step at which a state was taken."""
        self.done = int(state['done'])  # type: ignore[call-overload]
        self.student.network.load_state_dict(state['network'])  # type: ignore[arg-type]
        if self.student.heads is not None:
            self.student.heads.load_state_dict(state['heads'])  # type: ignore[arg-type]
        if self.done < self.plan.steps and self.plan.locate(self.done)[1]:
            self._enter(self.plan.locate(self.done)[0])
        self.optimiser.adam.load_state_dict(state['optimiser'])  # type: ignore[arg-type]
        if self.mean is not None:
            mean: Mapping[str, object] = state['mean']  # type: ignore[assignment]
            self.mean.updates = int(mean['updates'])  # type: ignore[call-overload]
            self.mean.state = dict(mean['state'])  # type: ignore[call-overload]


class Feed:
    """Reads the next batch in a thread while a step is computed."""

    def __init__(self, source: BatchSource) -> None:
        self._source, self._next = source, -1
        self._pool = ThreadPoolExecutor(1, 'batches')
        self._future: Future[Batch] | None = None

    def take(self, step: int) -> Batch:
        """Return the batch of a step, and begin with the one after it."""
        future = self._future if step == self._next else None
        batch = future.result() if future else self._source.draw(step)
        self._next, self._future = step + 1, self._pool.submit(self._source.draw, step + 1)
        return batch

    def forget(self) -> None:
        """Drop what was read ahead: a stage may change what batches hold."""
        if self._future:
            self._future.cancel()
        self._next, self._future = -1, None

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
