# SPDX-License-Identifier: Apache-2.0
"""
EE6D, the action and proprioception vector of X-VLA: two arms of [xyz, Rotate6D, gripper].

Left arm first; a single arm fills the first ten and leaves the other ten zero
(models/action_hub.py). Positions are metres in the arm's own base frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.rotations import matrix_to_rotate6d, rotate6d_to_matrix

EE6D_SIZE = 20
ARM_SIZE = 10
POSITION = slice(0, 3)
ROTATION = slice(3, 9)
GRIPPER = 9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmPose:
    """
    The measured or commanded pose of one arm's tool, and its gripper.

    position: (3,) metres, arm base frame. quaternion: (4,) unit, (x, y, z, w), of the tool in the
    arm base frame. gripper: opening, 0 closed to 1 open, for a measured pose or a target; the
    model's raw probability inside a chunk; NaN when unknown. joints: (n,) [rad] of the arm, in
    joint space; the pose is then the one they give.
    """

    position: NDArray[np.float64]
    quaternion: NDArray[np.float64]
    gripper: float
    joints: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Copy the arrays, check them, and make them read-only."""
        position = np.array(self.position, dtype=np.float64)
        quaternion = np.array(self.quaternion, dtype=np.float64)
        if position.shape != (3,) or not all(map(math.isfinite, position.tolist())):
            raise ValueError(f'position must be 3 finite metres, got {self.position}')
        length = math.hypot(*quaternion.tolist()) if quaternion.shape == (4,) else math.nan
        if not abs(length - 1) < 1e-3:
            raise ValueError(f'quaternion must be a unit (x, y, z, w), got {self.quaternion}')
        for name, value in (('position', position), ('quaternion', quaternion / length)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, 'gripper', float(self.gripper))
        if self.joints is not None:
            joints = np.array(self.joints, dtype=np.float64)
            if joints.ndim != 1 or not np.isfinite(joints).all():
                raise ValueError(f'joints must be finite radians, got {self.joints}')
            joints.setflags(write=False)
            object.__setattr__(self, 'joints', joints)

    def matrix(self) -> NDArray[np.float64]:
        """Return the rotation matrix (3, 3) of the tool in the arm base frame."""
        matrix: NDArray[np.float64] = Rotation.from_quat(self.quaternion).as_matrix()
        return matrix


def pack(arms: Sequence[ArmPose], layout: str) -> NDArray[np.float64]:
    """Return the EE6D vector (20,) of the arms, left first; one arm leaves the rest zero."""
    if len(arms) not in (1, 2):
        raise ValueError(f'EE6D holds one or two arms, got {len(arms)}')
    vector = np.zeros(EE6D_SIZE)
    for half, arm in zip(vector.reshape(2, ARM_SIZE), arms, strict=False):
        half[POSITION] = arm.position
        half[ROTATION] = matrix_to_rotate6d(arm.matrix(), layout)
        half[GRIPPER] = arm.gripper
    return vector


def unpack(vector: ArrayLike, layout: str, count: int | None = None) -> tuple[ArmPose, ...]:
    """
    Return the arms of an EE6D vector (20,), the inverse of pack.

    :param count: how many arms to read; None reads one when the second half is exactly zero, as
        pack leaves it.
    :raises ValueError: the vector is not (20,), or an arm's values are not finite or define no
        rotation.
    """
    vector = np.asarray(vector, dtype=np.float64)
    if vector.shape != (EE6D_SIZE,):
        raise ValueError(f'EE6D needs shape ({EE6D_SIZE},), got {vector.shape}')
    if count is None:
        count = arm_count(vector)
    halves = vector.reshape(2, ARM_SIZE)[:count]
    return tuple(
        ArmPose(
            position=half[POSITION],
            quaternion=Rotation.from_matrix(rotate6d_to_matrix(half[ROTATION], layout)).as_quat(),
            gripper=half[GRIPPER],
        )
        for half in halves
    )


def arm_count(vectors: NDArray[np.float64]) -> int:
    """Return 1 when the second half of EE6D vectors (..., 20) is exactly zero, else 2."""
    return 2 if np.any(vectors[..., ARM_SIZE:]) else 1
