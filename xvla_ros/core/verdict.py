# SPDX-License-Identifier: Apache-2.0
"""The result of the safety gate, and its stable reason codes."""

from dataclasses import dataclass

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose

# The setting of `limits` that decides whether a broken rule clamps or rejects.
RULES = {
    'workspace': 'on_workspace',
    'joint_position': 'on_workspace',
    'joint_speed': 'on_speed',
    'joint_acceleration': 'on_speed',
    'linear_speed': 'on_speed',
    'angular_speed': 'on_speed',
    'linear_acceleration': 'on_speed',
    'angular_acceleration': 'on_speed',
    'first_step': 'on_first_step',
    'arm_distance': 'on_arm_distance',
}
MEANING = {
    'arms': "the number of arms is not the embodiment's",
    'time': 'the time since the last step is not positive',
    'non_finite': 'a value is not finite',
    'rotation_layout': 'rotations are not in the configured Rotate6D layout',
    'rotation_invalid': 'rotations are not of unit length in either Rotate6D layout',
    'workspace': 'a tool is outside its workspace',
    'linear_speed': 'a tool moves too fast',
    'angular_speed': 'a tool turns too fast',
    'linear_acceleration': 'a tool speeds up or brakes too hard',
    'angular_acceleration': "a tool's turning changes too fast",
    'first_step': 'motion would begin too far from the measured tool',
    'arm_distance': 'the two tools come too close',
    'joints': 'a target has no joints, or another number of them',
    'joint_position': 'a joint is outside its limits',
    'joint_speed': 'a joint moves too fast',
    'joint_acceleration': 'a joint speeds up or brakes too hard',
    'collision': 'links would collide',
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdict:
    """
    The result of a check.

    accepted: whether the chunk or step is used, perhaps clamped. targets: the targets to publish
    for a step: those of the step, perhaps clamped; braking targets if it was rejected; None if a
    motion may not start. chunk: the chunk to put into the queue, or None. reasons: stable codes of
    every rule that clamped or rejected. message: the same as text.
    """

    accepted: bool
    targets: tuple[ArmPose, ...] | None = None
    reasons: tuple[str, ...] = ()
    message: str = ''
    chunk: Chunk | None = None
