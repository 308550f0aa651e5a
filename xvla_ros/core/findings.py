# SPDX-License-Identifier: Apache-2.0
"""Results of checks of a machine, a robot, a bag or a dataset."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

OK, WARNING, PROBLEM = 'ok', 'warning', 'problem'


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """
    The result of one check.

    level: OK, WARNING or PROBLEM. fix: what to do, if anything. file, episode, frame: the first
    place in recorded data where it was found.
    """

    level: str
    name: str
    found: str
    fix: str = ''
    file: str = ''
    episode: str = ''
    frame: int | None = None


def metres(position: ArrayLike) -> str:
    """Return a position (n,) [m] as text, to the millimetre."""
    return f'({", ".join(f"{value:.3f}" for value in np.asarray(position))}) m'
