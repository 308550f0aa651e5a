# SPDX-License-Identifier: Apache-2.0
"""
Converts between a checkpoint's conventions and the robot's: proprioception in, actions out.

Every difference between the reference clients of X-VLA is a setting of `PolicySettings` or
`ArmSettings`; see config/reference for one file per client.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, EE6D_SIZE, GRIPPER, pack, POSITION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.frames import frame_offset, FrameOffset

IDENTITY_QUATERNION = (0.0, 0.0, 0.0, 1.0)


class ActionProfile:
    """Translates between a checkpoint's EE6D and poses in the robot's base frame. Stateless."""

    # Channels that must not be averaged: the grippers.
    decisions = slice(GRIPPER, None, ARM_SIZE)

    def __init__(self, embodiment: Embodiment) -> None:
        """Read the checkpoint's facts from an embodiment."""
        self._policy = embodiment.policy
        self._layout = embodiment.policy.rotation_6d_layout
        self._arms = tuple(embodiment.arms.values())
        self._to_base = tuple(frame_offset(arm) for arm in self._arms)
        self._to_policy = tuple(offset.inverse() for offset in self._to_base)

    def proprio(
        self,
        measured: Sequence[ArmPose],
        commanded: Sequence[ArmPose] | None = None,
        previous: Chunk | None = None,
    ) -> NDArray[np.float32]:
        """
        Return the model's proprioception: EE6D (20,) in the policy's frame and layout.

        :param measured: one pose per arm, base frame, gripper opening 0 closed to 1 open.
        :param commanded: the last executed targets, base frame, gripper as the model gave it
            (`ChunkQueue.take`); used when proprio_source is `commanded`.
        :param previous: the last executed chunk; its end is used when proprio_source is
            `chunk_end`.
        :return: EE6D of the configured source, or of the measured pose while there is none.
        """
        source = self._policy.proprio_source
        if source == 'zeros':
            return np.zeros(EE6D_SIZE, dtype=np.float32)
        if source == 'commanded' and commanded is not None:
            vector = pack(self._in_policy(commanded), self._layout)
        elif source == 'chunk_end' and previous is not None:
            vector = self._moved(previous.actions[-1:], self._to_policy)[0]
        else:
            vector = pack(self._told(measured), self._layout)
        if self._policy.proprio_gripper == 'zero':
            vector[GRIPPER::ARM_SIZE] = 0.0
        return np.nan_to_num(vector, nan=0.0).astype(np.float32)

    def _in_policy(self, arms: Sequence[ArmPose]) -> list[ArmPose]:
        """Return poses in the policy's frame."""
        return [offset.apply(arm) for offset, arm in zip(self._to_policy, arms, strict=True)]

    def _told(self, measured: Sequence[ArmPose]) -> list[ArmPose]:
        """Return measured poses with the gripper and rotation that the model expects."""
        arms = []
        for arm, settings in zip(self._in_policy(measured), self._arms, strict=True):
            closed = settings.gripper.closed_probability
            arms.append(replace(arm, gripper=closed + (1 - 2 * closed) * arm.gripper))
        if self._policy.proprio_rotation == 'identity':
            arms = [replace(arm, quaternion=np.array(IDENTITY_QUATERNION)) for arm in arms]
        return arms

    def chunk(
        self,
        raw: NDArray[np.floating],
        stamp_ns: int,
        sequence: int = 0,
        reference: Sequence[ArmPose] | None = None,
    ) -> Chunk:
        """
        Return the model's output as a chunk in the robot's base frame, same layout, unchecked.

        :param raw: (T, 20) model output; values may be anything, NaN included.
        :param stamp_ns: stamp of the observation.
        :param reference: the targets commanded when that observation was taken, base frame; needed
            when the checkpoint's positions are relative.
        :raises ValueError: raw is not (T, 20), or positions are relative and there is no
            reference.
        """
        actions = self._policy.executed(raw, EE6D_SIZE)
        if self._policy.relative_position:
            if reference is None:
                raise ValueError(
                    'positions of this checkpoint are relative and need a reference pose'
                )
            for index, arm in enumerate(self._in_policy(reference)):
                actions[:, ARM_SIZE * index :][:, POSITION] += arm.position
        moved = self._moved(actions, self._to_base)
        return Chunk(
            stamp_ns=stamp_ns,
            period_s=self._policy.anchor_period_s,
            actions=moved,
            sequence=sequence,
            first_index=self._policy.first_index,
        )

    def raw(self, chunk: Chunk) -> NDArray[np.float32]:
        """
        Return a chunk's actions (T, 20) in the model's frame: the inverse of `chunk`.

        The prefix of real-time chunking (`ChunkQueue.plan`). Not for relative positions.

        :raises ValueError: positions of this checkpoint are relative.
        """
        if self._policy.relative_position:
            raise ValueError(
                'positions of this checkpoint are relative: it takes no plan as a prefix'
            )
        return self._moved(chunk.actions, self._to_policy).astype(np.float32)

    def _moved(
        self, actions: NDArray[np.float64], offsets: Sequence[FrameOffset]
    ) -> NDArray[np.float64]:
        """Return actions (T, 20) with each arm's half moved by its offset, other halves zero."""
        moved = np.zeros_like(actions)
        for index, offset in enumerate(offsets):
            half = slice(ARM_SIZE * index, ARM_SIZE * (index + 1))
            moved[:, half] = offset.apply_raw(actions[:, half], self._layout)
        return moved
