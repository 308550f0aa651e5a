# SPDX-License-Identifier: Apache-2.0
"""Turns the joints of an episode into samples for a network in joint space."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.joints.errors import compare_joints, JointErrors, LABELS
from xvla_ros.adapt.windows import moving_frames, Windows
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.data.episodes import Episode


class JointWindowMaker:
    """Makes the samples of episodes of one embodiment in joint space."""

    labels: ClassVar[dict[str, str]] = LABELS

    def __init__(self, embodiment: Embodiment, anchors: int) -> None:
        """
        Read what the embodiment's file says of the checkpoint.

        :param anchors: of the network, `num_actions`.
        """
        policy = embodiment.policy
        self.embodiment, self.profile = embodiment, JointProfile(embodiment)
        self.period_s = policy.anchor_period_s / policy.anchor_stride
        self.first = policy.first_index
        self.offsets_s = self.period_s * np.arange(self.first, self.first + anchors)

    def windows(self, episode: Episode) -> Windows:
        """
        Return the samples of an episode, one per frame that something moves after.

        Anchors are of the measured joints, in the units of the joints tables. Behind the end of
        the episode the arms stay where they ended.

        :raises DataError: the episode has no joints, or those of other arms.
        """
        rows, times = self._rows(episode), episode.times_s
        wanted = np.minimum(times[:, None] + self.offsets_s, times[-1])
        actions = np.stack([np.interp(wanted, times, column) for column in rows.T], axis=-1)
        frames, still = moving_frames(episode, rows, actions, self.first)
        told = self._told(actions[frames].reshape(-1, rows.shape[1]))
        return Windows(
            proprio=self._told(rows[frames]),
            actions=told.reshape(len(frames), actions.shape[1], self.profile.width),
            frame=frames,
            still=still,
        )

    def compare(
        self,
        predicted: NDArray[np.float32],
        done: NDArray[np.float32],
        task: NDArray[np.intp],
        tasks: tuple[str, ...],
    ) -> JointErrors:
        """Measure predictions (N, T, n) against demonstrations (N, T, n)."""
        return compare_joints(predicted, done, self.embodiment, task, tasks)

    def _rows(self, episode: Episode) -> NDArray[np.float64]:
        """Return joints [rad] and openings (F, D), arm after arm."""
        counts, arms = self.embodiment.joint_counts, episode.openings.shape[1]
        if episode.joints is None:
            raise episode.error(
                f"has no joints, embodiment '{self.embodiment.robot}' is driven in joint space "
                f'({self.embodiment.policy.action_mode}); record its joints, too'
            )
        if arms != len(counts) or episode.joints.shape[1] != sum(counts):
            raise episode.error(
                f'has {arms} arms and {episode.joints.shape[1]} joints, embodiment '
                f"'{self.embodiment.robot}' has {len(counts)} and {sum(counts)}"
            )
        parts = np.split(episode.joints, np.cumsum(counts)[:-1], axis=1)
        openings = episode.openings.T[..., None]
        return np.hstack([np.hstack(pair) for pair in zip(parts, openings, strict=True)])

    def _told(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return rows (N, D) as the model's numbers (N, n)."""
        if not len(rows):
            return np.empty((0, self.profile.width), np.float32)
        counts = self.embodiment.joint_counts
        chunk = Chunk(stamp_ns=0, period_s=self.period_s, actions=rows, joint_counts=counts)
        return self.profile.raw(chunk)
