# SPDX-License-Identifier: Apache-2.0
"""One training batch, and which samples each step draws."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
import torch

AnyBatch = TypeVar('AnyBatch', bound='Batch')


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """
    One batch of B samples with I images in all.

    tokens: (B, L). pixels: (I, 3, H, W) normalised, only views that exist. mask: (B, V) bool,
    where they belong. proprio: (B, dim_proprio). actions: (B, T, dim), clean. domain: (B,).
    encoded: (B, N, C) and auxiliary: (B, M, C), the encoder's outputs where they are known
    already; pixels are empty then.
    """

    tokens: torch.Tensor
    pixels: torch.Tensor
    mask: torch.Tensor
    proprio: torch.Tensor
    actions: torch.Tensor
    domain: torch.Tensor
    encoded: torch.Tensor | None = None
    auxiliary: torch.Tensor | None = None


def to_device(batch: AnyBatch, device: torch.device) -> AnyBatch:
    """Return a batch with all its tensors on a device."""
    if device.type == 'cpu':
        return batch
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{n: t.to(device) for n, t in tensors.items() if t is not None})


class BatchSource(Protocol):
    """
    Where batches come from.

    `draw` depends on nothing but the step, so a run that was stopped goes on with the batches that
    it would have seen.
    """

    def draw(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over the whole run."""

    def facts(self) -> dict[str, object]:
        """Return what must be the same when a run goes on: sizes, seed, batch."""


class Sampler:
    """
    Which samples a step draws from several sources, each with the same share.

    Every source is walked in random order, each sample once before any comes again. The draw
    depends on the seed and the step alone, so no state is saved.
    """

    def __init__(self, sizes: Sequence[int], batch: int, seed: int) -> None:
        """
        Set the sizes of the sources.

        :param batch: samples per step, over all sources and processes.
        """
        self.sizes, self.batch, self.seed = tuple(sizes), batch, seed
        self._order = lru_cache(maxsize=2 * len(self.sizes))(self._permutation)

    def draw(self, step: int) -> list[NDArray[np.intp]]:
        """Return the indices into each source; the shares differ by one sample at most."""
        return [self._indices(source, step) for source in range(len(self.sizes))]

    def _share(self, source: int, step: int) -> int:
        count = len(self.sizes)
        return (self.batch + (source + step) % count) // count

    def _before(self, source: int, step: int) -> int:
        """Return how many samples of a source the steps before this one drew."""
        turns, rest = divmod(step, len(self.sizes))
        return turns * self.batch + sum(self._share(source, turn) for turn in range(rest))

    def _indices(self, source: int, step: int) -> NDArray[np.intp]:
        first = self._before(source, step)
        places = range(first, first + self._share(source, step))
        size = self.sizes[source]
        return np.array([self._order(source, p // size)[p % size] for p in places], np.intp)

    def _permutation(self, source: int, epoch: int) -> NDArray[np.intp]:
        random = np.random.default_rng([self.seed, source, epoch])
        return random.permutation(self.sizes[source])
