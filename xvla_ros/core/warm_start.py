# SPDX-License-Identifier: Apache-2.0
"""Denoising that starts from the plan being executed instead of from noise alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStart:
    """
    A first guess of the chunk, so that denoising can start below t = 1.

    :param plan: (num_actions, dim) expected actions, as an earlier `predict` returned them. With
        None the model first predicts a plan from noise, which costs one more prediction.
    :param time: flow time to start from, in (0, 1]; not used when `steps` are times.
    """

    plan: NDArray[np.floating] | None
    time: float = 0.5


def shifted_plan(
    chunk: NDArray[np.floating], elapsed_s: float, period_s: float
) -> NDArray[np.float32]:
    """
    Return an earlier chunk at the anchor times of a later observation.

    Values between anchors are interpolated; after its end the last one is repeated.

    :param chunk: (num_actions, dim), its anchors period_s apart.
    :param elapsed_s: time between the two observations.
    """
    rows = np.arange(len(chunk)) + elapsed_s / period_s
    low = np.clip(np.floor(rows).astype(int), 0, len(chunk) - 1)
    high = np.minimum(low + 1, len(chunk) - 1)
    share = np.clip(rows - low, 0.0, 1.0)[:, None].astype(np.float32)
    plan: NDArray[np.float32] = (1 - share) * chunk[low] + share * chunk[high]
    return plan
