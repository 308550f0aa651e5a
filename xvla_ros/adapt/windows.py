# SPDX-License-Identifier: Apache-2.0
"""
From the arms' motion in an episode to what X-VLA is trained on: a state and the anchors after it.

The same profile as in serving turns poses into the model's numbers, so frame, layout, gripper and
proprioception of the embodiment's file hold in training, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from xvla_ros.adapt.validation import compare, Errors, LABELS
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, EE6D_SIZE, GRIPPER, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.profile import ActionProfile
from xvla_ros.core.rotations import matrix_to_rotate6d
from xvla_ros.data.episodes import Episode, Motion, Planned

# A sample is left out where no arm moves by this much until its first anchor, in any of its ten
# numbers (X-VLA datasets/dataset.py). It would teach the robot to wait.
STILL = 1e-5
# How far the time of a planned step may be from that of an anchor.
TIME_TOLERANCE_S = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """
    N samples: proprio (N, 20), actions (N, T, 20) as the model has them, frame (N,) of each.

    still: how many frames were left out because nothing moves after them.
    """

    proprio: NDArray[np.float32]
    actions: NDArray[np.float32]
    frame: NDArray[np.intp]
    still: int


class Maker(Protocol):
    """Makes the samples of episodes of one embodiment, and judges predictions of them."""

    labels: ClassVar[dict[str, str]]

    def windows(self, episode: Episode) -> Windows:
        """Return the samples of an episode, one per frame that something moves after."""

    def compare(
        self,
        predicted: NDArray[np.float32],
        done: NDArray[np.float32],
        task: NDArray[np.intp],
        tasks: tuple[str, ...],
    ) -> 'AnyErrors':
        """Measure predictions (N, T, n) against demonstrations (N, T, n)."""


class AnyErrors(Protocol):
    """What predictions were off by: `score` chooses, `line` is for people, `summary` for files."""

    @property
    def score(self) -> float:
        """Return one number to choose a checkpoint by, less is better."""

    def summary(self) -> dict[str, Any]:
        """Return means over all, by anchor and by task."""

    def line(self) -> str:
        """Return the means as a line."""


class WindowMaker:
    """Makes the samples of episodes of one embodiment that is driven by tool poses."""

    labels: ClassVar[dict[str, str]] = LABELS

    def __init__(self, embodiment: Embodiment, anchors: int) -> None:
        """
        Read what the embodiment's file says of the checkpoint.

        :param anchors: of the network, `num_actions`.
        :raises ConfigError: positions are relative, which cannot be trained.
        """
        policy = embodiment.policy
        if policy.relative_position:
            raise ConfigError(
                f"embodiment '{embodiment.robot}': policy.relative_position is true; training "
                'needs absolute positions'
            )
        self.embodiment, self.profile = embodiment, ActionProfile(embodiment)
        self.layout = policy.rotation_6d_layout
        # The robot executes every anchor_stride-th anchor, one period apart.
        self.period_s = policy.anchor_period_s / policy.anchor_stride
        self.first = policy.first_index
        self.offsets_s = self.period_s * np.arange(self.first, self.first + anchors)
        self._closed = [arm.gripper.closed_probability for arm in embodiment.arms.values()]

    def windows(self, episode: Episode) -> Windows:
        """
        Return the samples of an episode, one per frame that something moves after.

        Anchors are of the plan from the frame, where there is one, else of the commanded motion,
        else of the measured. Behind the end of the episode the arms stay where they ended.

        :raises ConfigError: the episode has other arms than the embodiment, or its plans have
            other times than the anchors.
        """
        track = self._track(episode)
        if episode.planned is not None:
            return self._planned(episode, episode.planned)
        times = episode.times_s[:, None] + self.offsets_s
        actions = track.at(np.minimum(times, episode.times_s[-1]))
        frames, still = moving_frames(episode, track.at(episode.times_s), actions, self.first)
        return Windows(
            proprio=self._proprio(episode, frames),
            actions=self._raw(actions[frames]),
            frame=frames,
            still=still,
        )

    def compare(
        self,
        predicted: NDArray[np.float32],
        done: NDArray[np.float32],
        task: NDArray[np.intp],
        tasks: tuple[str, ...],
    ) -> Errors:
        """Measure predictions (N, T, 20) against demonstrations (N, T, 20)."""
        return compare(predicted, done, self.layout, task, tasks)

    def _planned(self, episode: Episode, planned: Planned) -> Windows:
        """Return the samples of an episode whose plans were recorded."""
        count = len(self.offsets_s)
        off = planned.offsets_s[:count]
        if len(off) < count or np.abs(off - self.offsets_s).max() > TIME_TOLERANCE_S:
            raise episode.error(
                f'its plans have {len(planned.offsets_s)} steps from {off[0]:g} to {off[-1]:g} s, '
                f'expected {count} from {self.offsets_s[0]:g} to {self.offsets_s[-1]:g} s: '
                'policy.anchor_period_s is of another robot or checkpoint'
            )
        allowed = may_start(episode)
        frames = np.flatnonzero(allowed & np.isfinite(planned.grippers).all(axis=(1, 2)))
        actions = np.zeros((len(frames), count, EE6D_SIZE))
        halves = actions.reshape(len(frames), count, -1, ARM_SIZE)[:, :, : len(self._closed)]
        turns = Rotation.from_quat(planned.quaternions[frames, :count].reshape(-1, 4)).as_matrix()
        halves[..., POSITION] = planned.positions[frames, :count]
        halves[..., ROTATION] = matrix_to_rotate6d(turns, self.layout).reshape(
            *halves.shape[:-1], -1
        )
        halves[..., GRIPPER] = planned.grippers[frames, :count]
        return Windows(
            proprio=self._proprio(episode, frames),
            actions=self._raw(actions),
            frame=frames,
            still=int(allowed.sum()) - len(frames),
        )

    def _track(self, episode: Episode) -> 'Track':
        arms, expected = episode.positions.shape[1], len(self._closed)
        if arms != expected:
            raise episode.error(
                f"has {arms} arms, embodiment '{self.embodiment.robot}' has {expected}"
            )
        motion = episode.commanded or episode.motion
        return Track(episode.times_s, motion, self._closed, self.layout)

    def _proprio(self, episode: Episode, frames: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the states (N, 20) at frames (N,) as the model has them."""
        poses = [self.profile.proprio(episode.poses(frame)) for frame in frames]
        return np.stack(poses) if poses else np.empty((0, EE6D_SIZE), np.float32)

    def _raw(self, actions: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return actions (N, T, 20) in the frame of the model."""
        count, anchors, size = actions.shape
        if not count:
            return actions.astype(np.float32)
        chunk = Chunk(stamp_ns=0, period_s=self.period_s, actions=actions.reshape(-1, size))
        return self.profile.raw(chunk).reshape(count, anchors, size)


def may_start(episode: Episode) -> NDArray[np.bool_]:
    """Tell from which frames (F,) of an episode a sample may start."""
    allowed = np.zeros(len(episode), bool)
    allowed[slice(*(episode.starts or (0, None)))] = True
    return allowed


def moving_frames(
    episode: Episode, states: NDArray[np.float64], actions: NDArray[np.float64], first: int
) -> tuple[NDArray[np.intp], int]:
    """
    Return the frames that something moves after, and how many were left out as still.

    :param states: (F, D) of all frames. :param actions: (F, T, D) their anchors.
    :param first: when the first anchor is due, in periods after the frame.
    """
    later = actions[:, min(1 - first, actions.shape[1] - 1)]
    moved = np.abs(later - states).max(axis=-1) >= STILL
    allowed = may_start(episode)
    allowed[-1] = False  # the last frame has no future
    return np.flatnonzero(moved & allowed), int((allowed & ~moved).sum())


class Track:
    """The arms of an episode at any time: EE6D, base frame, grippers as the model has them."""

    def __init__(
        self,
        times_s: NDArray[np.float64],
        motion: Motion,
        closed: Sequence[float],
        layout: str,
    ) -> None:
        self._times, self._layout = times_s, layout
        self._arms = [
            (
                motion.positions[:, arm],
                Slerp(times_s, Rotation.from_quat(motion.quaternions[:, arm])),
                closed[arm] + (1 - 2 * closed[arm]) * motion.openings[:, arm],
            )
            for arm in range(motion.positions.shape[1])
        ]

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (..., 20) at times (...): linear, rotations on the shortest arc."""
        found = np.zeros((times.size, EE6D_SIZE))
        flat = times.ravel()
        for index, (positions, turns, grippers) in enumerate(self._arms):
            half = found[:, ARM_SIZE * index : ARM_SIZE * (index + 1)]
            for axis in range(3):
                half[:, POSITION][:, axis] = np.interp(flat, self._times, positions[:, axis])
            half[:, ROTATION] = matrix_to_rotate6d(turns(flat).as_matrix(), self._layout)
            half[:, GRIPPER] = np.interp(flat, self._times, grippers)
        return found.reshape(*times.shape, EE6D_SIZE)
