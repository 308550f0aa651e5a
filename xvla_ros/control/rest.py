# SPDX-License-Identifier: Apache-2.0
"""Distance between two states of the arms, and the end of braking."""

from collections.abc import Sequence

import numpy as np

from xvla_ros.core.ee6d import ArmPose

# Braking ends when a step is shorter than this. An arm that lags then still moves on to its last
# target. Holding it at its measured pose instead would pull it back.
STOPPED_M, STOPPED_RAD = 1e-5, 1e-5


def farthest_m(some: Sequence[ArmPose], others: Sequence[ArmPose]) -> float:
    """Return the largest distance between two poses of the same arm [m]."""
    pairs = zip(some, others, strict=True)
    return max(float(np.linalg.norm(a.position - b.position)) for a, b in pairs)


def at_rest(before: Sequence[ArmPose], after: Sequence[ArmPose]) -> bool:
    """Tell whether two braking steps end at the same place (in joint space: every joint)."""
    pairs = zip(before, after, strict=True)
    turns = [
        float(np.abs(a.joints - b.joints).max())
        for a, b in pairs
        if a.joints is not None and b.joints is not None
    ]
    return farthest_m(before, after) < STOPPED_M and max(turns, default=0.0) < STOPPED_RAD
