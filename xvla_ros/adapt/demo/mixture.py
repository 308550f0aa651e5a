# SPDX-License-Identifier: Apache-2.0
"""Training batches drawn evenly from several robots' samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.adapt.dataset import jittered
from xvla_ros.adapt.demo.samples import Samples
from xvla_ros.adapt.demo.small_network import COLOURS, GRID, instructions
from xvla_ros.adapt.trainer.batches import Batch, Sampler
from xvla_ros.model.processor import ImageProcessor

# A cell that holds no block.
NOWHERE = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundedBatch(Batch):
    """
    A batch that also says where the blocks are.

    blocks: (B, 3), the named block, metres, world. named: (B,) index of its colour. cells: (I, C)
    grid cell of each block's centre, row-major, -1 when not in view. offsets: (I, C, 2) where in
    that cell, x and y from 0 to 1.
    """

    blocks: torch.Tensor
    named: torch.Tensor
    cells: torch.Tensor
    offsets: torch.Tensor


class Mixture:
    """
    Draws batches in which every robot has the same share; the same seed draws the same batches.

    :param sources: samples and the indices that may be drawn, per robot.
    :param tokenize: turns an instruction into ids, as inference does.
    :param views: view slots of the network.
    :param batch: samples per step.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Samples, NDArray[np.intp]]],
        tokenize: Callable[[str], tuple[int, ...]],
        images: ImageProcessor,
        views: int,
        *,
        seed: int,
        batch: int,
        jitter: bool = True,
    ) -> None:
        self.sources, self.views, self.jitter = sources, views, jitter
        self.images = images
        self.words = [[tokenize(text) for text in instructions(colour)] for colour in COLOURS]
        self.seed = seed
        self._sampler = Sampler([len(allowed) for _, allowed in sources], batch, seed)

    def facts(self) -> dict[str, object]:
        """Return what must be the same when a run goes on."""
        robots = [samples.layout.robot for samples, _ in self.sources]
        return {'batch': self._sampler.batch, 'robots': robots, 'samples': self._sampler.sizes}

    def draw(self, step: int) -> GroundedBatch:
        """Draw the batch of a step; the robots' shares differ by one sample at most."""
        random = np.random.default_rng([self.seed, step])
        parts = [
            self._part(samples, np.sort(allowed[index]), random)
            for (samples, allowed), index in zip(
                self.sources, self._sampler.draw(step), strict=True
            )
        ]
        return GroundedBatch(**{n: torch.cat([part[n] for part in parts]) for n in parts[0]})

    def _part(
        self, samples: Samples, index: NDArray[np.intp], random: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        """Read one robot's share; name a random block among those of each scene."""
        rows = np.arange(len(index))
        plans = samples.actions[index]
        present = np.isfinite(plans[:, :, 0, 0])
        named = np.argmax(random.random(present.shape) * present, axis=1)
        words = random.integers(len(self.words[0]), size=len(index))
        mask = np.zeros((len(index), self.views), bool)
        mask[:, : samples.layout.views] = True
        cells, offsets = grid_cells(samples.pixels[index])
        return {
            'tokens': torch.tensor([self.words[c][w] for c, w in zip(named, words, strict=True)]),
            'pixels': self._pixels(samples.images[index], random),
            'mask': torch.from_numpy(mask),
            'proprio': torch.from_numpy(samples.proprio[index]),
            'actions': torch.from_numpy(plans[rows, named]),
            'domain': torch.full((len(index),), samples.layout.domain_id),
            'blocks': torch.from_numpy(samples.blocks[index][rows, named]),
            'named': torch.from_numpy(named),
            'cells': torch.from_numpy(cells).flatten(0, 1),
            'offsets': torch.from_numpy(offsets).flatten(0, 1),
        }

    def _pixels(self, images: NDArray[np.uint8], random: np.random.Generator) -> torch.Tensor:
        """Normalise (B, V, side, side, 3) bytes as (B * V, 3, side, side), colours jittered."""
        flat = images.reshape(-1, *images.shape[2:])
        if self.jitter:
            flat = np.stack([jittered(image, random) for image in flat])
        return self.images.normalise(torch.from_numpy(flat).permute(0, 3, 1, 2))


def grid_cells(
    pixels: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """
    Say in which cell of the token grid points lie.

    :param pixels: (..., 2) x and y from 0 to 1, NaN when not in view.
    :return: cells (...) int64, row-major, -1 for none, and the place inside the cell (..., 2)
        float32.
    """
    seen = np.all((pixels >= 0) & (pixels < 1), axis=-1, keepdims=True)
    scaled = np.where(seen, pixels, 0.0) * GRID
    cell = np.floor(scaled).astype(np.int64)
    index = np.where(seen[..., 0], cell[..., 1] * GRID + cell[..., 0], NOWHERE)
    return index, (scaled - cell).astype(np.float32)
