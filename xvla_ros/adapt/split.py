# SPDX-License-Identifier: Apache-2.0
"""Which episodes are trained on, and which are held out."""

from collections.abc import Sequence

import numpy as np

from xvla_ros.core.errors import ConfigError
from xvla_ros.data.episodes import Episode


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
