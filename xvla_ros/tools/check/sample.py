# SPDX-License-Identifier: Apache-2.0
"""Some episodes of many, to be shown."""

from collections.abc import Iterable, Iterator

import numpy as np

from xvla_ros.data.context import Result
from xvla_ros.data.episodes import Episode

MOST = 6


class Sample:
    """Keeps a few episodes of a stream, each with the same chance, the same ones each time."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Episode]] = []
        self._random = np.random.default_rng(0)

    @property
    def episodes(self) -> list[Episode]:
        """The kept episodes in their order."""
        return [episode for _, episode in sorted(self._kept, key=lambda item: item[0])]

    def keep(self, results: Iterable[Result]) -> Iterator[Result]:
        """Pass everything on, keeping some."""
        seen = 0
        for result in results:
            if isinstance(result, Episode):
                self._offer(seen, result)
                seen += 1
            yield result

    def _offer(self, number: int, episode: Episode) -> None:
        if len(self._kept) < MOST:
            self._kept.append((number, episode))
            return
        place = int(self._random.integers(number + 1))
        if place < MOST:
            self._kept[place] = (number, episode)
