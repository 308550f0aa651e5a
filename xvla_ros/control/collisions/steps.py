# SPDX-License-Identifier: Apache-2.0
"""Collision checks of arms that follow tool poses, on the joints that their drivers plan."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.collisions.shapes import Collisions
from xvla_ros.control.drivers import ArmStep
from xvla_ros.core.embodiment import Embodiment


class StepCollisions:
    """
    Checks each step of all arms before it is sent, and the place where a stop after it would end.

    The stop is extrapolated in a straight line in joint space, over the braking time of the tools.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Read the shapes.

        :raises ConfigError: a file is missing or does not fit.
        """
        limits = embodiment.limits
        stop_s = max(
            limits.max_linear_speed_m_s / limits.max_linear_acceleration_m_s2,
            limits.max_angular_speed_rad_s / limits.max_angular_acceleration_rad_s2,
        )
        self._steps = stop_s / 2 * embodiment.control.rate_hz
        self._shapes = Collisions(embodiment)

    def touching(self, plans: Sequence[ArmStep], before: Sequence[NDArray[np.float64]]) -> str:
        """
        Return which links would collide in a step or in a stop after it; empty for none.

        :param before: each arm's joints (n,) [rad] that the step begins with.
        """
        planned = [plan.joints for plan in plans if plan.joints is not None]
        q = np.concatenate(planned)
        step = q - np.concatenate(list(before))
        return self._shapes.touching(q) or self._shapes.touching(q + self._steps * step)


def step_collisions(embodiment: Embodiment) -> StepCollisions | None:
    """Return the check for a robot that follows tool poses; None if it is switched off."""
    wanted = embodiment.limits.check_collisions and not embodiment.joint_space
    return StepCollisions(embodiment) if wanted else None
