# SPDX-License-Identifier: Apache-2.0
"""Batches of several robots at once, each robot with its own row of the network."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from xvla_ros.adapt.feeding import EpisodeBatches
from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.adapt.trainer.stages import Stage


class Together:
    """A batch of every robot, one behind the other; all have the same share."""

    def __init__(self, sources: Sequence[EpisodeBatches]) -> None:
        """:param sources: one per robot."""
        self._sources = tuple(sources)

    def draw(self, step: int) -> Batch:
        """Return the batch of a step."""
        return joined([source.draw(step) for source in self._sources])

    def enter(self, stage: Stage, span: tuple[int, int]) -> None:
        """Begin a stage: fill the caches, or drop them."""
        for source in self._sources:
            source.enter(stage, span)

    def facts(self) -> dict[str, object]:
        """Return what must be the same when a run goes on."""
        return {
            f'{name} of robot {number}': value
            for number, source in enumerate(self._sources)
            for name, value in source.facts().items()
        }


def joined(batches: Sequence[Batch]) -> Batch:
    """Return batches as one; all of them hold the encoder's outputs, or none does."""
    parts: dict[str, Any] = {}
    for field in fields(Batch):
        values = [getattr(batch, field.name) for batch in batches]
        parts[field.name] = None if values[0] is None else torch.cat(values)
    return Batch(**parts)
