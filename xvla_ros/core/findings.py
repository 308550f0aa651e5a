# SPDX-License-Identifier: Apache-2.0
"""What checks say: of a machine, a robot, a bag, a data set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

OK, WARNING, PROBLEM = 'ok', 'warning', 'problem'


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    level: OK, WARNING or PROBLEM. fix: what to do, if anything. file, episode, frame: where in
    recorded data the first of it is.
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
