# SPDX-License-Identifier: Apache-2.0
"""
From prepared inputs to chunks in one run on one device.

No shape depends on data, and nothing is copied from or to the host, except to compare predictions
under a tolerance. So a GPU can record the whole run and replay it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F

from xvla_ros.model.backends.network import Network
from xvla_ros.model.sampler import sample, Tolerance


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """
    The values that determine all shapes and steps of a run.

    :param views: number of views of each row of the batch.
    :param times: flow times of the run, from the first step to the last.
    """

    views: tuple[int, ...]
    times: tuple[float, ...]


class Batch(NamedTuple):
    """
    Inputs of one run on the network's device, float32 except the domains.

    pixels: (N, 3, H, W) normalised, all views of all rows; words: (B, L, C) token embeddings;
    state: (B, dim_proprio); domain: (B,) int64; noise: (B, T, dim); plan: (B, T, dim) raw first
    guess, unused in a run from time 1; times: (steps,).
    """

    pixels: torch.Tensor
    words: torch.Tensor
    state: torch.Tensor
    domain: torch.Tensor
    noise: torch.Tensor
    plan: torch.Tensor
    times: torch.Tensor


def answer(
    network: Network,
    batch: Batch,
    geometry: Geometry,
    prefix: torch.Tensor | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[torch.Tensor, int]:
    """
    Predict one chunk per row.

    :param prefix: (B, d, dim) committed steps, raw.
    :return: (B, T, real_dim) actions as output by the model, and the number of predictions.
    """
    mode, state = network.mode, batch.state
    features = network.image_features(batch.pixels)
    slots = in_slots(features, geometry.views, network.config.view_slots)
    context = network.context(slots, batch.words, batch.domain)
    proprio, _ = mode.preprocess(state, batch.noise)
    step = network.denoiser(context, proprio, batch.domain, batch.times)
    raw, used = sample(
        lambda noisy, index: step(mode.preprocess(state, noisy)[1], index),
        batch.noise,
        geometry.times,
        mode,
        prefix=prefix,
        plan=batch.plan,
        tolerance=tolerance,
    )
    return mode.postprocess(raw), used


def in_slots(features: torch.Tensor, views: tuple[int, ...], slots: int) -> torch.Tensor:
    """Sort features (N, tokens, C) into (B, slots, tokens, C); missing views are zeros."""
    rows = features.split(views)
    return torch.stack([F.pad(row, (0, 0, 0, 0, 0, slots - len(row))) for row in rows])
