# SPDX-License-Identifier: Apache-2.0
"""A path of joints at equal times, with the velocities that a cubic interpolation needs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A cubic between two points stays between them while the velocities at both have the sign of the
# mean velocity and are at most three times as large (Fritsch and Carlson, 1980: their square).
STEEPEST = 3.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointPath:
    """
    Joints of one arm at the ends of the following control periods, the last of them at rest.

    joints: (k, n) [rad]. velocities: (k, n) [rad/s], zero in the last row. period_s: time to the
    first row and between two rows [s].
    """

    joints: Array
    velocities: Array
    period_s: float


def path_velocities(joints: Array, first_s: float, period_s: float) -> Array:
    """
    Return the velocities (k, n) [rad/s] at all points of a path but its start.

    Each is the mean of the velocities before and after the point, zero where a joint turns round
    and at the end. A cubic interpolation then leaves no interval of two neighbouring points.

    :param joints: (k + 1, n) [rad], the start and k points. :param first_s: time from the start
        to the first point [s]. :param period_s: time between two points [s].
    """
    steps = np.diff(joints, axis=0) / period_s  # (k, n)
    steps[0] *= period_s / first_s
    before, after = steps[:-1], steps[1:]
    most = STEEPEST * np.minimum(np.abs(before), np.abs(after))
    inner = np.clip((before + after) / 2, -most, most)
    inner[before * after <= 0] = 0.0
    return np.vstack([inner, np.zeros_like(steps[:1])])
