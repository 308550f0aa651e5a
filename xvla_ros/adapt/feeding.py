# SPDX-License-Identifier: Apache-2.0
"""The batches of an adaptation, drawn by step; outputs of the frozen encoder are kept."""

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.dataset import Dataset
from xvla_ros.adapt.trainer.batches import Batch, Sampler
from xvla_ros.adapt.trainer.features import encode_all, Features
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.stages import Stage


class EpisodeBatches:
    """
    Batches of one dataset for one row of a network, this process's part of each.

    In a stage that caches, the encoder runs once over each sample that the stage will draw, and
    colours are not jittered. If memory is too small, it runs for each batch.
    """

    def __init__(
        self,
        data: Dataset,
        student: Student,
        domain: int,
        batch: int,
        seed: int,
        *,
        jitter: bool = True,
        most_bytes: float = 8e9,
    ) -> None:
        """
        Prepare to draw.

        :param batch: samples per step and process. most_bytes: memory for the encoder's outputs.
        """
        self._data, self._student, self._domain = data, student, domain
        self._sampler = Sampler([len(data)], batch * student.world, seed)
        self._seed, self._jitter, self._most_bytes = seed, jitter, most_bytes
        self._frozen = range(0)
        self._features: Features | None = None

    def facts(self) -> dict[str, object]:
        """Return what must be the same when a run goes on."""
        return {
            'batch': self._sampler.batch,
            'samples': len(self._data),
            'data': self._data.fingerprint,
            'jitter': self._jitter,
            'row': self._domain,
        }

    def enter(self, stage: Stage, span: tuple[int, int]) -> None:
        """Begin a stage: fill the cache, or drop it."""
        self._features, self._frozen = None, range(0)
        if stage.caches:
            self._frozen = range(*span)
            drawn = [self._mine(step) for step in self._frozen]
            samples = np.unique(np.concatenate(drawn)) if drawn else np.empty(0, np.intp)
            if len(samples) and self._fits(samples):
                self._features = encode_all(self._student, samples, self._read)

    def _fits(self, samples: NDArray[np.intp]) -> bool:
        one = encode_all(self._student, samples[:1], self._read)
        size = one.encoded.nbytes + one.auxiliary.nbytes
        return size * len(samples) <= self._most_bytes

    def draw(self, step: int) -> Batch:
        """Return the batch of a step."""
        samples = self._mine(step)
        if step in self._frozen:
            return self._known(samples)
        random = np.random.default_rng([self._seed, step, self._student.rank])
        return self._data.batch(samples, self._domain, random if self._jitter else None)

    def _mine(self, step: int) -> NDArray[np.intp]:
        (samples,) = self._sampler.draw(step)
        mine: NDArray[np.intp] = np.split(samples, self._student.world)[self._student.rank]
        return mine

    def _read(self, samples: NDArray[np.intp]) -> Batch:
        return self._data.batch(samples, self._domain)

    def _known(self, samples: NDArray[np.intp]) -> Batch:
        """Return a batch with the encoder's outputs in place of images, where they are kept."""
        if self._features is None:
            return self._read(samples)
        return self._data.known(samples, self._domain, self._features)
