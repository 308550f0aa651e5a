# SPDX-License-Identifier: Apache-2.0
"""
Pre-training for grounding: which block is where, and which one is named.

Florence-2 brings this to the full X-VLA. Without it a small policy learns to reach somewhere long
before it learns to reach the block that the words name. The heads here are thrown away; what they
teach the encoder stays.
"""

import torch
from torch import nn
from torch.nn import functional as F

from xvla_ros.adapt.demo.mixture import GroundedBatch, NOWHERE
from xvla_ros.adapt.demo.small_network import COLOURS

# Offsets are fractions of a cell; the block's place is in metres.
OFFSET_WEIGHT = 5.0
PLACE_WEIGHT = 200.0


class GroundingHeads(nn.Module):
    """
    Linear heads on image tokens: all blocks before the text, the named one after it.

    :param tower: width of the vision tower; `width`: of the encoder; `domains`: robots with own
        world frames.
    """

    def __init__(self, tower: int, width: int, domains: int) -> None:
        super().__init__()
        self.every = nn.Linear(tower, 3 * len(COLOURS))
        self.named = nn.Linear(width, 3)
        self.place = nn.Linear(width, 3 * domains)

    def every_loss(self, tokens: torch.Tensor, batch: GroundedBatch) -> torch.Tensor:
        """
        Find each colour's cell in each image, where it is in view.

        :param tokens: (I, 36, C) of the vision tower.
        """
        logits, offsets = (
            self.every(tokens).float().split([len(COLOURS), 2 * len(COLOURS)], dim=-1)
        )
        offsets = offsets.unflatten(-1, (len(COLOURS), 2)).transpose(1, 2)  # (I, colours, 36, 2)
        seen = batch.cells != NOWHERE
        return cell_loss(
            logits.transpose(1, 2)[seen], offsets[seen], batch.cells[seen], batch.offsets[seen]
        )

    def named_loss(self, encoded: torch.Tensor, batch: GroundedBatch) -> torch.Tensor:
        """
        Find the named block's cell in the main view and its place in the world.

        :param encoded: (B, 36, C), the image part of the encoder's output without its first token.
        """
        cells, offsets = main_view(batch)
        seen = cells != NOWHERE
        logits, shift = self.named(encoded).float().split([1, 2], dim=-1)
        loss = cell_loss(logits[seen][..., 0], shift[seen], cells[seen], offsets[seen])
        place = self.place(encoded.mean(dim=1)).float().unflatten(-1, (-1, 3))
        place = place[torch.arange(len(place)), batch.domain]
        return loss + PLACE_WEIGHT * F.mse_loss(place, batch.blocks)

    def named_accuracy(self, encoded: torch.Tensor, batch: GroundedBatch) -> float:
        """Return the share of samples whose named block is in the likeliest cell, 0 to 1."""
        cells, _ = main_view(batch)
        seen = cells != NOWHERE
        guess = self.named(encoded)[..., 0].argmax(dim=-1)
        return float((guess == cells)[seen].float().mean())


def main_view(batch: GroundedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the named block's cell (B,) and place in it (B, 2) in each sample's first view."""
    first = batch.mask.sum(dim=1).cumsum(0) - batch.mask.sum(dim=1)
    return batch.cells[first, batch.named], batch.offsets[first, batch.named]


def cell_loss(
    logits: torch.Tensor, offsets: torch.Tensor, cells: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """Cross entropy over cells (K, 36), and the squared error of the place inside the true one."""
    inside = offsets[torch.arange(len(cells)), cells]
    return F.cross_entropy(logits, cells) + OFFSET_WEIGHT * F.mse_loss(inside, places)
