# SPDX-License-Identifier: Apache-2.0
"""The joints table of an arm: the meaning of a checkpoint's numbers, and each joint's limits."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.core.schema import param

Array = NDArray[np.float64]
Number = TypeVar('Number', float, Array)

# Action modes of checkpoints for tool poses, and for joints (docs/joint-space.md).
EE6D_MODES = ('ee6d', 'agibot_ee6d')
JOINT_MODES = ('auto', 'joint', 'so101_bimanual', 'franka_joint7')
# Model values per radian.
SCALES = {'rad': 1.0, 'deg': 180.0 / math.pi}


def to_model(position: Number, scale: Number, offset: Number) -> Number:
    """Return the checkpoint's number of a position [rad], or of an opening."""
    return scale * position + offset


def to_robot(value: Number, scale: Number, offset: Number) -> Number:
    """Return the position [rad], or the opening, of a checkpoint's number."""
    return (value - offset) / scale


@dataclass(frozen=True, kw_only=True)
class JointSettings:
    """One joint: model value = scale * radians + offset; its limits, inside those of the URDF."""

    ros_name: str = param("Name of the joint in JointState messages and in the arm's URDF.")
    model_index: int = param("Position of the joint in the checkpoint's vectors.", low=0)
    unit: str = param(
        "Unit of the checkpoint's number, which gives the scale: rad or deg. Empty: scale.",
        '',
        choices=('', 'rad', 'deg'),
    )
    scale: float = param('Model values per radian; may be negative. 0: from the unit.', 0.0)
    offset: float = param("Model value at the URDF's zero.", 0.0)
    lower_rad: float = param("Lower limit [rad]; if equal to upper_rad, the URDF's limits.", 0.0)
    upper_rad: float = param('Upper limit [rad].', 0.0)
    max_speed_rad_s: float = param(
        'Largest speed [rad/s]. Speeds of URDFs are often placeholders.', low=0.01, high=30.0
    )
    max_acceleration_rad_s2: float = param(
        'Largest acceleration, also used to brake [rad/s^2].', low=0.1, high=500.0
    )
    speed_falls: tuple[float, ...] = param(
        'lower, upper [rad], k [rad/s^2], c [rad/s]: towards either end the speed stays below '
        'sqrt(2 k distance) - c (Franka Research 3). Empty: the same speed everywhere.',
        (),
    )

    def __post_init__(self) -> None:
        """Take the scale from the unit, and refuse a table that cannot be inverted."""
        if bool(self.unit) == bool(self.scale):
            raise ValueError('give either unit or a scale other than 0')
        object.__setattr__(self, 'scale', self.scale or SCALES[self.unit])
        object.__setattr__(self, 'unit', '')
        if self.lower_rad > self.upper_rad:
            raise ValueError(
                f'lower_rad {self.lower_rad} must be below upper_rad {self.upper_rad}'
            )
        if len(self.speed_falls) not in (0, 4):
            raise ValueError(f'speed_falls must hold 4 numbers, got {len(self.speed_falls)}')

    @property
    def bounded(self) -> bool:
        """Whether the table limits the position itself."""
        return self.lower_rad < self.upper_rad


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointMap:
    """
    The maps value = scale * q + offset of one arm's joints in `joint_names` order and its gripper.

    index, scale, offset: (n,). An opening goes from 0 closed to 1 open. If the checkpoint has a
    gripper, its map is the last entry.
    """

    index: NDArray[np.intp]
    scale: Array
    offset: Array

    def to_model(self, values: ArrayLike) -> Array:
        """Return radians and opening (..., n) as the checkpoint's numbers."""
        return to_model(np.asarray(values, np.float64), self.scale, self.offset)

    def to_robot(self, values: ArrayLike) -> Array:
        """Return the checkpoint's numbers (..., n) as radians and opening."""
        return to_robot(np.asarray(values, np.float64), self.scale, self.offset)


def ordered(
    joints: Mapping[str, JointSettings], names: tuple[str, ...]
) -> tuple[JointSettings, ...]:
    """
    Return the table in the order of an arm's joints.

    :raises ValueError: it lacks one, has one too many or names one twice.
    """
    by_name = {joint.ros_name: joint for joint in joints.values()}
    if set(by_name) != set(names) or len(joints) != len(names):
        listed = [joint.ros_name for joint in joints.values()]
        raise ValueError(f'joints is of {listed}, expected one entry each of {list(names)}')
    return tuple(by_name[name] for name in names)
