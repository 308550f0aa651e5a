# SPDX-License-Identifier: Apache-2.0
"""Checks grippers over all episodes: how episodes begin shows which way is open."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.data.checks.asked import Asked, at
from xvla_ros.data.episodes import Episode

# Below this opening a gripper counts as closed.
CLOSED = 0.5
# A gripper counts as moved when its opening changes by this much.
CHANGE = 0.2


@dataclass(kw_only=True, slots=True)
class GripperTally:
    """What the gripper of one arm has done so far."""

    closed: int = 0
    frames: int = 0
    moves: int = 0
    otherwise: list[Episode] = field(default_factory=list)


class Grippers:
    """Counts what grippers do in each episode."""

    def __init__(self, asked: Asked) -> None:
        self._begin, self._tallies = asked.grippers_begin, dict[int, GripperTally]()

    def see(self, episode: Episode) -> None:
        """Count an episode."""
        for index, openings in enumerate(episode.openings.T):
            tally = self._tallies.setdefault(index, GripperTally())
            tally.frames += len(openings)
            tally.closed += int((openings < CLOSED).sum())
            if np.ptp(openings) < CHANGE:
                continue  # one that does not move may be either
            tally.moves += 1
            begins = 'closed' if openings[0] < CLOSED else 'open'
            if self._begin not in (begins, 'any'):
                tally.otherwise.append(episode)

    def findings(self) -> Iterator[Finding]:
        """Yield what there is to say of all episodes."""
        for index, tally in self._tallies.items():
            name = f'gripper {index}' if len(self._tallies) > 1 else 'gripper'
            closed = f'closed in {tally.closed / max(1, tally.frames):.0%} of the frames'
            if not tally.moves:
                yield Finding(level=WARNING, name=name, found=f'never moves, {closed}')
            elif len(tally.otherwise) * 2 > tally.moves:
                found = f'does not begin {self._begin} in {len(tally.otherwise)} of {tally.moves} '
                found += f'episodes ({closed}): is its polarity reversed?'
                fix = 'swap gripper_open and gripper_closed, or set grippers_begin: any'
                yield at(tally.otherwise[0], PROBLEM, name, found, 0, fix)
            else:
                yield Finding(
                    level=OK, name=name, found=f'{closed}, moves in {tally.moves} episodes'
                )
