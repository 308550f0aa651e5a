# SPDX-License-Identifier: Apache-2.0
"""The loss of a training step: X-VLA's own, of a network in training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.adapt.trainer.forward import act, encode
from xvla_ros.model.sampler import mix, stratified_times
from xvla_ros.model.xvla import XVLA


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """
    A float32 network in training, with the heads that only training needs.

    dtype: of matrix products; weights, gradients and the optimiser's state stay float32. rank and
    world: which of how many processes this is; each has its part of every batch. checkpointing:
    compute activations again in the backward pass instead of keeping them.
    """

    network: XVLA
    heads: nn.Module | None = None
    dtype: torch.dtype = torch.float32
    rank: int = 0
    world: int = 1
    checkpointing: bool = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.transformer.pos_emb.device

    def arithmetic(self) -> torch.autocast:
        """Return a context in which matrix products are computed in `dtype`."""
        enabled = self.dtype == torch.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def mine(self, whole: torch.Tensor) -> torch.Tensor:
        """Return this process's part of something that all processes drew alike."""
        return whole.chunk(self.world)[self.rank].to(self.device)


Losses = dict[str, torch.Tensor]
Objective = Callable[[Student, Batch, torch.Generator], Losses]


@contextmanager
def randomness(seed: int, step: int, rank: int = 0) -> Iterator[torch.Generator]:
    """
    Give a step random numbers that depend on the seed and the step alone, dropout's too.

    :return: a generator that is the same in every process; dropout differs between processes.
    """
    state = np.random.SeedSequence([seed, step]).generate_state(2)
    with torch.random.fork_rng():
        torch.manual_seed(int(state[0]) + rank)
        yield torch.Generator().manual_seed(int(state[1]))


def noisy_actions(
    student: Student, batch: Batch, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return actions mixed with noise, and the stratified flow times (B,) that they are at."""
    count = len(batch.domain) * student.world
    t = student.mine(stratified_times(count, generator))
    noise = student.mine(torch.randn(count, *batch.actions.shape[1:], generator=generator))
    return mix(noise, batch.actions, t[:, None, None]), t


def policy_losses(student: Student, batch: Batch, generator: torch.Generator) -> Losses:
    """Return X-VLA's own loss by its terms, weighted."""
    noisy, t = noisy_actions(student, batch, generator)
    with student.arithmetic():
        encoded, auxiliary = encode(student.network, batch)
        guess = act(
            student.network, batch, encoded, auxiliary, noisy, t,
            checkpointing=student.checkpointing,
        )  # fmt: skip
        return student.network.mode.loss(guess.float(), batch.actions)
