# SPDX-License-Identifier: Apache-2.0
"""Training batches drawn evenly from several robots' samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xvla_ros.adapt.samples import Samples
from xvla_ros.adapt.small_network import COLOURS, GRID, instructions
from xvla_ros.model.processor import ImageProcessor

# Largest relative change of an image's brightness, and of each colour channel.
BRIGHTNESS = 0.2
CHANNEL = 0.1
# A cell that holds no block.
NOWHERE = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """
    One batch of B samples with I images in all.

    tokens: (B, L). pixels: (I, 3, side, side) normalised, only views that exist. mask: (B, V)
    bool, where they belong. proprio: (B, 20). actions: (B, 30, 20). domain: (B,). blocks: (B, 3),
    the named block, metres, world. named: (B,) index of its colour. cells: (I, C) grid cell of
    each block's centre, row-major, -1 when not in view. offsets: (I, C, 2) where in that cell, x
    and y from 0 to 1.
    """

    tokens: torch.Tensor
    pixels: torch.Tensor
    mask: torch.Tensor
    proprio: torch.Tensor
    actions: torch.Tensor
    domain: torch.Tensor
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
    """

    def __init__(
        self,
        sources: Sequence[tuple[Samples, np.ndarray]],
        tokenize: Callable[[str], tuple[int, ...]],
        images: ImageProcessor,
        views: int,
        seed: int,
        jitter: bool = True,
    ) -> None:
        self.sources, self.views, self.jitter = sources, views, jitter
        self.images = images
        self.words = [[tokenize(text) for text in instructions(colour)] for colour in COLOURS]
        self.random = np.random.default_rng(seed)

    def draw(self, size: int) -> Batch:
        """Draw a batch with as many samples of each robot, up to one."""
        turn = self.random.integers(len(self.sources))
        parts = []
        for number, (samples, allowed) in enumerate(self.sources):
            share = (size + (number + turn) % len(self.sources)) // len(self.sources)
            parts.append(self._part(samples, np.sort(self.random.choice(allowed, share))))
        return Batch(
            **{name: torch.cat([part[name] for part in parts]) for name in Batch.__slots__}
        )

    def _part(self, samples: Samples, index: np.ndarray) -> dict[str, torch.Tensor]:
        """Read one robot's share, with a random colour that the scene has."""
        rows = np.arange(len(index))
        plans = samples.actions[index]
        present = np.isfinite(plans[:, :, 0, 0])
        named = np.argmax(self.random.random(present.shape) * present, axis=1)
        words = self.random.integers(len(self.words[0]), size=len(index))
        mask = np.zeros((len(index), self.views), bool)
        mask[:, : samples.layout.views] = True
        cells, offsets = grid_cells(samples.pixels[index])
        return {
            'tokens': torch.tensor([self.words[c][w] for c, w in zip(named, words, strict=True)]),
            'pixels': self._pixels(samples.images[index]),
            'mask': torch.from_numpy(mask),
            'proprio': torch.from_numpy(samples.proprio[index]),
            'actions': torch.from_numpy(plans[rows, named]),
            'domain': torch.full((len(index),), samples.layout.domain_id),
            'blocks': torch.from_numpy(samples.blocks[index][rows, named]),
            'named': torch.from_numpy(named),
            'cells': torch.from_numpy(cells).flatten(0, 1),
            'offsets': torch.from_numpy(offsets).flatten(0, 1),
        }

    def _pixels(self, images: np.ndarray) -> torch.Tensor:
        """Normalise (B, V, side, side, 3) bytes as (B * V, 3, side, side), colours jittered."""
        planes = torch.from_numpy(images).flatten(0, 1).permute(0, 3, 1, 2).float()
        if self.jitter:
            gain = 1 + BRIGHTNESS * self.random.uniform(-1, 1, (len(planes), 1))
            gain = gain * (1 + CHANNEL * self.random.uniform(-1, 1, (len(planes), 3)))
            planes = planes.mul_(torch.from_numpy(gain).float()[:, :, None, None]).clamp_(0, 255)
        return self.images.normalise(planes)


def grid_cells(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Say in which cell of the token grid points lie.

    :param pixels: (..., 2) x and y from 0 to 1, NaN when not in view.
    :return: cells (...) int64, row-major, -1 for none, and the place inside the cell (..., 2)
        float32.
    """
    seen = ((pixels >= 0) & (pixels < 1)).all(axis=-1)
    scaled = np.where(seen[..., None], pixels, 0.0) * GRID
    cell = np.floor(scaled).astype(np.int64)
    index = np.where(seen, cell[..., 1] * GRID + cell[..., 0], NOWHERE)
    return index, (scaled - cell).astype(np.float32)
