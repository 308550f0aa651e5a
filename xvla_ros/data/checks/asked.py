# SPDX-License-Identifier: Apache-2.0
"""The settings of a check."""

from collections.abc import Callable
from dataclasses import dataclass

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.findings import Finding
from xvla_ros.data.episodes import Episode

# Anchors of X-VLA, and the tokens that an instruction may have.
ANCHORS, TOKENS = 30, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """
    The robot and the checkpoint that the data is for, as far as they are known.

    tokens: returns how many tokens an instruction has. images: how many frames of an episode to
    decode. grippers_begin, window_s: as the source says.
    """

    embodiment: Embodiment | None = None
    tokens: Callable[[str], int] | None = None
    most_tokens: int = TOKENS
    anchors: int = ANCHORS
    images: int = 5
    grippers_begin: str = 'open'
    window_s: float = 0.0


def at(
    episode: Episode, level: str, name: str, found: str, frame: int | None = None, fix: str = ''
) -> Finding:
    """Return a finding of an episode."""
    return Finding(
        level=level, name=name, found=found, fix=fix, file=episode.file, episode=episode.name,
        frame=frame,
    )  # fmt: skip


def share(count: int, whole: int) -> str:
    """Return a share in words."""
    return f'{count / max(1, whole):.0%}'
