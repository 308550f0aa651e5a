# SPDX-License-Identifier: Apache-2.0
"""What training needs to know of a demonstration, wherever it comes from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ConfigError

Pictures = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Episode:
    """
    One demonstration with F frames and A arms, in the order of the embodiment.

    name: for messages. instruction: what was done. times_s: (F,) increasing. positions: (F, A, 3)
    metres, arm base frame. quaternions: (F, A, 4) xyzw. openings: (F, A), 0 closed to 1 open.
    look: returns the pictures (H, W, 3) uint8 RGB of a frame, in the order of the cameras.
    """

    name: str
    instruction: str
    times_s: NDArray[np.float64]
    positions: NDArray[np.float64]
    quaternions: NDArray[np.float64]
    openings: NDArray[np.float64]
    look: Callable[[int], Pictures]

    def __post_init__(self) -> None:
        """
        Check shapes, times and numbers.

        :raises ConfigError: it says which episode and which frame is wrong.
        """
        frames, arms = self.openings.shape
        for name, shape in (
            ('times_s', (frames,)),
            ('positions', (frames, arms, 3)),
            ('quaternions', (frames, arms, 4)),
        ):
            values = getattr(self, name)
            if values.shape != shape:
                raise ConfigError(
                    f'episode {self.name}: {name} is {values.shape}, expected {shape}'
                )
        if frames < 2:
            raise ConfigError(f'episode {self.name}: has {frames} frames, expected 2 or more')
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ('times_s', 'positions', 'quaternions', 'openings'):
            wrong = np.argwhere(~np.isfinite(getattr(self, name)))
            if len(wrong):
                raise ConfigError(
                    f'episode {self.name}: {name} of frame {wrong[0][0]} is not a number'
                )
        late = np.flatnonzero(np.diff(self.times_s) <= 0)
        if len(late):
            raise ConfigError(
                f'episode {self.name}: the time of frame {late[0] + 1} is '
                f'{self.times_s[late[0] + 1]} s, not after the one before'
            )

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.times_s)

    def poses(self, frame: int) -> list[ArmPose]:
        """Return the arms at a frame."""
        rows = zip(
            self.positions[frame], self.quaternions[frame], self.openings[frame], strict=True
        )
        return [ArmPose(position=p, quaternion=q, gripper=float(g)) for p, q, g in rows]


def split(
    episodes: Sequence[Episode], share: float, seed: int
) -> tuple[list[Episode], list[Episode]]:
    """
    Return the episodes for training and those that are held out, of every task its share.

    :raises ConfigError: there are fewer than two episodes.
    """
    if len(episodes) < 2:
        raise ConfigError(
            f'the data has {len(episodes)} episodes, expected 2 or more: one is held out'
        )
    random, held_out = np.random.default_rng(seed), set()
    tasks = sorted({episode.instruction for episode in episodes})
    for task in tasks:
        mine = [i for i, episode in enumerate(episodes) if episode.instruction == task]
        count = min(len(mine) - 1, max(1, round(share * len(mine))))
        held_out |= set(random.permutation(mine)[:count].tolist())
    if not held_out:  # every task has one episode
        held_out.add(int(random.integers(len(episodes))))
    chosen = [[e for i, e in enumerate(episodes) if (i in held_out) == out] for out in (0, 1)]
    return chosen[0], chosen[1]
