# SPDX-License-Identifier: Apache-2.0
"""Decides which blocks are lifted: off the table, at a gripper, for a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.sim.scenes import Scene

# A block is lifted when its centre has been LIFTED_M above where it lay for HELD_S, at most
# AT_TOOL_M from a tool. A block that lies on another one is 0.04 m up. One that is dropped from
# the expert's 0.15 m lands after 0.2 s.
LIFTED_M = 0.08
HELD_S = 1.0
AT_TOOL_M = 0.05
# A block counts as picked up once a tool has it this far above where it lay.
PICKED_M = 0.03


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifts:
    """
    What has happened so far in an episode.

    lifted: colours of the blocks that have been held in the air. picked: of those that a tool has
    raised, however briefly.
    """

    lifted: frozenset[str] = frozenset()
    picked: frozenset[str] = frozenset()

    def done(self, scene: Scene) -> bool:
        """Tell whether all blocks that a scene names are lifted."""
        return set(scene.picks.values()) <= self.lifted

    def wrong(self, scene: Scene) -> tuple[str, ...]:
        """Return the colours of picked blocks that a scene does not name."""
        return tuple(sorted(self.picked - set(scene.picks.values())))


class LiftJudge:
    """Judges one episode. Positions are in the world frame [m], times in seconds."""

    def __init__(self) -> None:
        """Begin an episode; the first look says where the blocks lie."""
        self._rest: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self.lifts = Lifts()

    def look(
        self,
        time_s: float,
        tools: Mapping[str, NDArray[np.float64]],
        blocks: Mapping[str, NDArray[np.float64]],
    ) -> Lifts:
        """
        Return what has happened up to a time.

        :param tools: centre (3,) of each tool. blocks: centre (3,) of each block, by colour.
        """
        lifted, picked = set(self.lifts.lifted), set(self.lifts.picked)
        for colour, centre in blocks.items():
            up_m = centre[2] - self._rest.setdefault(colour, float(centre[2]))
            at_tool = min(float(np.linalg.norm(t - centre)) for t in tools.values()) < AT_TOOL_M
            if at_tool and up_m > PICKED_M:
                picked.add(colour)
            if not at_tool or up_m < LIFTED_M:
                self._since.pop(colour, None)
            elif time_s - self._since.setdefault(colour, time_s) >= HELD_S:
                lifted.add(colour)
        self.lifts = Lifts(lifted=frozenset(lifted), picked=frozenset(picked))
        return self.lifts
