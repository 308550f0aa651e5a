# SPDX-License-Identifier: Apache-2.0
"""Starting from the plan that is already being executed instead of from nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStart:
    """
    A first guess of the chunk, so that denoising can start below t = 1.

    :param plan: (num_actions, dim) expected actions, as an earlier `predict` returned them; None
        has the model guess first, from noise, which takes one prediction more.
    :param time: flow time to start from, in (0, 1]; not used when `steps` are times.
    """

    plan: NDArray[np.floating] | None
    time: float = 0.5


def shifted_plan(
    chunk: NDArray[np.floating], elapsed_s: float, period_s: float
) -> NDArray[np.float32]:
    """
    Return what an earlier chunk says about the anchors of a later observation.

    Between anchors it is interpolated, behind its end it holds.

    :param chunk: (num_actions, dim), anchor i due (i + 1) * period_s after its observation.
    :param elapsed_s: time between the two observations.
    """
    rows = np.arange(len(chunk)) + elapsed_s / period_s
    low = np.clip(np.floor(rows).astype(int), 0, len(chunk) - 1)
    high = np.minimum(low + 1, len(chunk) - 1)
    share = np.clip(rows - low, 0.0, 1.0)[:, None].astype(np.float32)
    plan: NDArray[np.float32] = (1 - share) * chunk[low] + share * chunk[high]
    return plan
