# SPDX-License-Identifier: Apache-2.0
"""The robot model that the joint-space gates need; control/robot_model.py implements it."""

from collections.abc import Sequence
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.joint_motion import JointBounds
from xvla_ros.core.limit_settings import LimitSettings
from xvla_ros.core.quaternions import difference

Array = NDArray[np.float64]
# Position (3,) [m] and quaternion (4,) xyzw of one arm's tool in its base frame.
Tool = tuple[Array, Array]


class JointModel(Protocol):
    """The joints of all arms, in order, as one vector (N,). One thread at a time."""

    bounds: JointBounds
    joint_counts: tuple[int, ...]

    def tools(self, q: Array) -> tuple[Tool, ...]:
        """Return the tool of each arm."""

    def collision(self, q: Array) -> str:
        """Return which two links touch, or which link touches a scene box; empty for none."""

    def units(self, q: Array) -> str:
        """Return the unit in which joints q (N,) would be inside their limits; empty: none."""


def parts(joint_counts: Sequence[int]) -> tuple[slice, ...]:
    """Return each arm's entries in a vector of all joints (N,)."""
    ends = np.cumsum(joint_counts).tolist()
    return tuple(slice(end - n, end) for end, n in zip(ends, joint_counts, strict=True))


def tool_share(
    pairs: Sequence[tuple[Tool, Tool]], limits: LimitSettings, dt_s: float
) -> tuple[float, str]:
    """
    Return the share of a step that keeps the tools' speed limits, and the code of the limit.

    :param pairs: each arm's tool before and after the step.
    """
    least, code = 1.0, ''
    for (p0, q0), (p1, q1) in pairs:
        way = math.dist(p0.tolist(), p1.tolist()) / dt_s
        turn = math.hypot(*difference(tuple(q0.tolist()), tuple(q1.tolist()))) / dt_s
        for name, speed, most in (
            ('linear_speed', way, limits.max_linear_speed_m_s),
            ('angular_speed', turn, limits.max_angular_speed_rad_s),
        ):
            if speed * least > most:
                least, code = most / speed, name
    return least, code
