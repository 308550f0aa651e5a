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

    Episodes of the same name and file show the same scene: all of them go to one side.

    :raises ConfigError: there are fewer than two episodes.
    """
    if len(episodes) < 2:
        raise ConfigError(
            f'the data has {len(episodes)} episodes, expected 2 or more: one is held out'
        )
    random = np.random.default_rng(seed)
    held_out: set[tuple[str, str]] = set()
    tasks = sorted({episode.instruction for episode in episodes})
    for task in tasks:
        mine = list(dict.fromkeys(key(e) for e in episodes if e.instruction == task))
        count = min(len(mine) - 1, max(1, round(share * len(mine))))
        known = sum(one in held_out for one in mine)
        order = [mine[i] for i in random.permutation(len(mine))]
        held_out |= set([one for one in order if one not in held_out][: max(0, count - known)])
    if not held_out:  # every task has one episode
        held_out.add(key(episodes[int(random.integers(len(episodes)))]))
    chosen = [[e for e in episodes if (key(e) in held_out) == out] for out in (False, True)]
    return chosen[0], chosen[1]


def key(episode: Episode) -> tuple[str, str]:
    """Return what says which scene an episode shows."""
    return episode.file, episode.name
