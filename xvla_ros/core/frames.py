# SPDX-License-Identifier: Apache-2.0
"""
Frame offsets between a checkpoint and a robot, for poses and for raw model output.

Tool pose in the base frame = base_from_policy * pose in the policy frame * policy_from_tool.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.ee6d import ArmPose, POSITION, ROTATION
from xvla_ros.core.rotations import rotate6d_from_columns, split_rotate6d
from xvla_ros.core.settings import ArmSettings

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameOffset:
    """The two constant transforms around a policy's pose: `left` and `right`, 4x4, rigid."""

    left: Array
    right: Array

    def inverse(self) -> 'FrameOffset':
        """Return the offset that undoes this one."""
        left: Array = np.asarray(np.linalg.inv(self.left), dtype=np.float64)
        right: Array = np.asarray(np.linalg.inv(self.right), dtype=np.float64)
        return FrameOffset(left=left, right=right)

    def apply(self, arm: ArmPose) -> ArmPose:
        """Return left * pose * right; the gripper stays."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = arm.matrix(), arm.position
        pose = self.left @ pose @ self.right
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
        return ArmPose(position=pose[:3, 3], quaternion=quaternion, gripper=arm.gripper)

    def apply_raw(self, actions: Array, layout: str) -> Array:
        """
        Return one arm's raw actions (T, 10) moved by the offset, unchecked.

        Only the rotation that the raw values define (Gram-Schmidt) is turned. Errors in them (NaN,
        lengths, skew, a wrong layout) are kept, so that the safety gate sees them.
        """
        moved = actions.copy()
        rotation, shape = split_rotate6d(actions[:, ROTATION], layout)
        position = actions[:, POSITION] + rotation @ self.right[:3, 3]
        moved[:, POSITION] = position @ self.left[:3, :3].T + self.left[:3, 3]
        columns = (self.left[:3, :3] @ rotation @ self.right[:3, :3])[..., :2] @ shape
        moved[:, ROTATION] = rotate6d_from_columns(columns[..., 0], columns[..., 1], layout)
        return moved


def frame_offset(settings: ArmSettings) -> FrameOffset:
    """Return the offset from the policy's frame to the arm's base and tool frames."""
    left: Array = np.array(settings.base_from_policy).reshape(4, 4)
    right: Array = np.array(settings.policy_from_tool).reshape(4, 4)
    return FrameOffset(left=left, right=right)
