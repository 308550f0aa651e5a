# SPDX-License-Identifier: Apache-2.0
"""Converts between a joint-space checkpoint's numbers and radians by the joints table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment

Array = NDArray[np.float64]


class JointProfile:
    """Translates between a checkpoint's vector and the joints of all arms. Stateless."""

    # Channels that must not be averaged: none.
    decisions = slice(0, 0)

    def __init__(self, embodiment: Embodiment) -> None:
        """Read the joints tables of an embodiment."""
        self._policy = embodiment.policy
        self._counts = embodiment.joint_counts
        self._maps = tuple(arm.joint_map() for arm in embodiment.arms.values())
        self.width = sum(len(joints.index) for joints in self._maps)

    def proprio(
        self,
        measured: Sequence[ArmPose],
        commanded: Sequence[ArmPose] | None = None,
        previous: Chunk | None = None,
    ) -> NDArray[np.float32]:
        """
        Return the model's proprioception (width,), in its own units.

        :param measured: one per arm, with joints [rad] and opening.
        :param commanded: the last executed targets; used when proprio_source is `commanded`.
        :param previous: the last executed chunk; its end is used when proprio_source is
            `chunk_end`.
        :raises ValueError: the joints of an arm are not known.
        """
        source = self._policy.proprio_source
        if source == 'zeros':
            return np.zeros(self.width, dtype=np.float32)
        if source == 'chunk_end' and previous is not None:
            return self._filled(previous.actions[-1])
        arms = commanded if source == 'commanded' and commanded is not None else measured
        rows = [_known(arm) for arm in arms]
        return self._filled(np.concatenate(rows))

    def _filled(self, row: Array) -> NDArray[np.float32]:
        """Return one action in the model's numbers, with 0 for an unknown opening."""
        told: NDArray[np.float32] = np.nan_to_num(self._told(row[None])[0], nan=0.0)
        return told

    def chunk(
        self,
        raw: NDArray[np.floating],
        stamp_ns: int,
        sequence: int = 0,
        reference: Sequence[ArmPose] | None = None,
    ) -> Chunk:
        """
        Return the model's output as a chunk of joints [rad] and openings, unchecked.

        :param raw: (T, width) model output; values may be anything, NaN included.
        :param reference: not used in joint space.
        :raises ValueError: raw is not (T, width).
        """
        answer = self._policy.executed(raw, self.width)
        actions = np.full((len(answer), sum(self._counts) + len(self._counts)), np.nan)
        for columns, joints in zip(self._columns(), self._maps, strict=True):
            actions[:, columns[: len(joints.index)]] = joints.to_robot(answer[:, joints.index])
        return Chunk(
            stamp_ns=stamp_ns,
            period_s=self._policy.anchor_period_s,
            actions=actions,
            sequence=sequence,
            first_index=self._policy.first_index,
            joint_counts=self._counts,
        )

    def raw(self, chunk: Chunk) -> NDArray[np.float32]:
        """Return a chunk's actions (T, width) in the model's units: the inverse of `chunk`."""
        return self._told(chunk.actions)

    def _told(self, actions: Array) -> NDArray[np.float32]:
        """Return actions (T, D) in the model's numbers (T, width)."""
        told = np.zeros((len(actions), self.width), np.float32)
        for columns, joints in zip(self._columns(), self._maps, strict=True):
            told[:, joints.index] = joints.to_model(actions[:, columns[: len(joints.index)]])
        return told

    def _columns(self) -> list[NDArray[np.intp]]:
        """Return each arm's columns in a chunk."""
        ends = np.cumsum([count + 1 for count in self._counts])
        return [np.arange(end - n - 1, end) for end, n in zip(ends, self._counts, strict=True)]


def _known(arm: ArmPose) -> Array:
    """Return one arm's joints and opening (n + 1,)."""
    if arm.joints is None:
        raise ValueError('the joints of an arm are not known')
    return np.append(arm.joints, arm.gripper)
