# SPDX-License-Identifier: Apache-2.0
"""The one form of a demonstration, wherever it comes from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.data.errors import DataError

Array = NDArray[np.float64]
Images = tuple[NDArray[np.uint8], ...]
# A quaternion whose length deviates from 1 by more is refused.
LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Motion:
    """
    Where A arms are, or are sent, in F frames.

    positions: (F, A, 3) metres, arm base frame. quaternions: (F, A, 4) xyzw. openings: (F, A), 0
    closed to 1 open.
    """

    positions: Array
    quaternions: Array
    openings: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Planned:
    """
    Plans of T steps from each of F frames on, for A arms.

    offsets_s: (T,) from the frame to each step, increasing. positions: (F, T, A, 3) metres, arm
    base frame. quaternions: (F, T, A, 4) xyzw. grippers: (F, T, A), the model's own values. A
    frame without a plan is NaN throughout; no sample begins there.
    """

    offsets_s: Array
    positions: Array
    quaternions: Array
    grippers: Array

    def check(self, episode: 'Episode') -> None:
        """
        Check the shapes against an episode.

        :raises DataError: one does not fit; it names the episode.
        """
        shape = (len(episode.times_s), len(self.offsets_s), episode.openings.shape[1])
        for name, more in (('positions', (3,)), ('quaternions', (4,)), ('grippers', ())):
            values = getattr(self, name)
            if values.shape != (*shape, *more):
                text = f'planned {name} is {values.shape}, expected {(*shape, *more)}'
                raise episode.error(text, what='shape')


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Episode:
    """
    One demonstration with F frames and A arms, in the order of the embodiment.

    name: for messages. instruction: what was done. times_s: (F,) increasing. positions: (F, A, 3)
    metres, arm base frame. quaternions: (F, A, 4) xyzw. openings: (F, A), 0 closed to 1 open.
    look: decodes the images (H, W, 3) uint8 RGB of a frame, in the order of the cameras.
    file, index: where it is from. cameras: names. joints: (F, J) [rad], all arms in a row, named
    by joint_names, where they were recorded. commanded: what the arms were sent, where that was
    recorded; anchors are then of it. starts: first frame and the one behind the last that may
    begin a sample; None for all. planned: what should be done from each frame on, where that was
    recorded; anchors are then of it alone.
    """

    name: str
    instruction: str
    times_s: Array
    positions: Array
    quaternions: Array
    openings: Array
    look: Callable[[int], Images]
    file: str = ''
    index: int = 0
    cameras: tuple[str, ...] = ()
    joints: Array | None = None
    joint_names: tuple[str, ...] = ()
    commanded: Motion | None = None
    starts: tuple[int, int] | None = None
    planned: 'Planned | None' = None

    def __post_init__(self) -> None:
        """
        Check shapes, times and numbers.

        :raises DataError: it says which episode and which frame is wrong.
        """
        frames, arms = self.openings.shape
        if frames < 2:
            raise self.error(f'has {frames} frames, expected 2 or more', what='empty')
        self._check_shape('times_s', self.times_s, (frames,))
        for kind, motion in self.motions():
            self._check_shape(f'{kind}positions', motion.positions, (frames, arms, 3))
            self._check_shape(f'{kind}quaternions', motion.quaternions, (frames, arms, 4))
            self._check_shape(f'{kind}openings', motion.openings, (frames, arms))
        if self.joints is not None:
            self._check_shape('joints', self.joints, (frames, len(self.joint_names)))
        if self.planned is not None:
            self.planned.check(self)
        self._check_numbers()

    @property
    def motion(self) -> Motion:
        """Return where the arms were."""
        return Motion(
            positions=self.positions, quaternions=self.quaternions, openings=self.openings
        )

    def motions(self) -> list[tuple[str, Motion]]:
        """Return the measured motion and, where there is one, the commanded, by a prefix."""
        commanded = [('commanded ', self.commanded)] if self.commanded is not None else []
        return [('', self.motion), *commanded]

    @property
    def fps(self) -> float:
        """Frames per second, by the median step [Hz]."""
        return 1.0 / float(np.median(np.diff(self.times_s)))

    def error(self, text: str, frame: int | None = None, what: str = 'damaged') -> DataError:
        """Return an error that names this episode."""
        return DataError(text, file=self.file, episode=self.name, frame=frame, what=what)

    def _check_shape(self, name: str, values: Array, shape: tuple[int, ...]) -> None:
        if values.shape != shape:
            raise self.error(f'{name} is {values.shape}, expected {shape}', what='shape')

    def _check_numbers(self) -> None:
        self._check_finite('times_s', self.times_s)
        if self.joints is not None:
            self._check_finite('joints', self.joints)
        for kind, motion in self.motions():
            for name in ('positions', 'quaternions', 'openings'):
                self._check_finite(f'{kind}{name}', getattr(motion, name))
            off = np.abs(np.linalg.norm(motion.quaternions, axis=-1) - 1) > LENGTH_TOLERANCE
            if off.any():
                frame = int(np.argwhere(off)[0][0])
                raise self.error(f'{kind}quaternions are not of length 1', frame, 'rotation')
        late = np.flatnonzero(np.diff(self.times_s) <= 0)
        if len(late):
            frame = int(late[0]) + 1
            raise self.error(
                f'its time is {self.times_s[frame]:.6f} s, not after the one before', frame, 'time'
            )

    def _check_finite(self, name: str, values: Array) -> None:
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            raise self.error(f'{name} is not a number', int(wrong[0][0]), 'number')

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.times_s)

    def poses(self, frame: int) -> list[ArmPose]:
        """Return the arms at a frame."""
        rows = zip(
            self.positions[frame], self.quaternions[frame], self.openings[frame], strict=True
        )
        return [ArmPose(position=p, quaternion=q, gripper=float(g)) for p, q, g in rows]
