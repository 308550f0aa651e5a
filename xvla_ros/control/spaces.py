# SPDX-License-Identifier: Apache-2.0
"""Makes the parts that differ between tool poses and joints, for an embodiment."""

from typing import TYPE_CHECKING

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_model import JointModel
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.core.profile import ActionProfile
from xvla_ros.core.space import PoseSpace, Space

if TYPE_CHECKING:
    from xvla_ros.control.collisions.chunks import ChunkCollisions


def make_space(embodiment: Embodiment) -> Space:
    """
    Return the space of an embodiment's plans.

    :raises ConfigError: joint space: a URDF is missing or does not hold the arm.
    """
    if not embodiment.joint_space:
        return PoseSpace(embodiment.policy.rotation_6d_layout, len(embodiment.arm_names))
    from xvla_ros.control.robot_model import joint_space  # pinocchio takes long to import

    return joint_space(embodiment)


def make_model(embodiment: Embodiment) -> JointModel | None:
    """
    Return the robot model for the gates of a joint-space embodiment; None for tool poses.

    :raises ConfigError: a URDF, or the file of allowed pairs beside it, is missing or does not
        fit.
    """
    if not embodiment.joint_space:
        return None
    from xvla_ros.control.robot_model import robot_model

    return robot_model(embodiment)


def make_chunk_collisions(embodiment: Embodiment) -> 'ChunkCollisions | None':
    """
    Return the check of chunks of tool poses; None if it is off, or the gate does it (joint space).

    :raises ConfigError: a URDF, or the file of allowed pairs beside it, is missing or does not
        fit.
    """
    if not embodiment.limits.check_collisions or embodiment.joint_space:
        return None
    from xvla_ros.control.collisions.chunks import ChunkCollisions

    return ChunkCollisions(embodiment)


def make_profile(embodiment: Embodiment) -> ActionProfile | JointProfile:
    """Return the converter between the checkpoint's numbers and the robot's."""
    return JointProfile(embodiment) if embodiment.joint_space else ActionProfile(embodiment)
