# SPDX-License-Identifier: Apache-2.0
"""Keeps an answer close to the plan in execution: real-time chunking (arXiv 2506.07339)."""

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import FIRST_INDEX
from xvla_ros.core.ee6d import ARM_SIZE, GRIPPER

GRIPPERS = slice(GRIPPER, None, ARM_SIZE)


def plan_weights(
    period_s: float, count: int, firm_s: float, fade_s: float, first: int = FIRST_INDEX
) -> NDArray[np.float64]:
    """
    Return the weight of the plan in the answer at each anchor (count,), 1 to 0.

    :param period_s: anchor i is due (i + first) * period_s after the observation.
    :param firm_s: until then the plan is executed in any case, so the weight is 1.
    :param fade_s: within this time after it the weight falls linearly to 0.
    """
    after_s = period_s * np.arange(first, first + count) - firm_s
    weights: NDArray[np.float64] = np.clip(1 - after_s / max(fade_s, 1e-9), 0.0, 1.0)
    return weights


def drawn_to_plan(
    actions: NDArray[np.floating],
    plan: NDArray[np.floating],
    weights: NDArray[np.float64],
    decisions: slice = GRIPPERS,
) -> NDArray[np.float64]:
    """
    Return actions (T, D), each mixed with the plan's by its weight (T,).

    :param decisions: channels that must not be averaged, such as EE6D's grippers. They are the
        plan's where its weight is 1, else the answer's.
    """
    share = np.repeat(weights[:, None], actions.shape[1], axis=1)
    share[:, decisions] = weights[:, None] >= 1
    mixed: NDArray[np.float64] = actions + share * (plan - actions)
    return mixed
