# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt descent inside a box of joints, for inverse kinematics."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Damping at the start, its bounds, and its factors after success and failure: Madsen, Nielsen,
# Tingleff, Methods for non-linear least squares problems (2004), section 3.2, simplified.
FIRST_DAMPING = 1e-4
LEAST_DAMPING = 1e-8
MOST_DAMPING = 1e2
EASE = 0.2
STIFFEN = 6.0
# The longest joint step of one iteration [rad]: the linearisation is poor beyond it.
LONGEST_STEP_RAD = 0.8
# The pull to the posture decreases with the error at this rate, so that it does not disturb the
# end of the descent.
FADE = 10.0
# Give up after this many iterations in a row that gained less than 2 %.
PATIENCE = 5


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Lower and upper bounds (n,) of the joints."""

    lower: Vector
    upper: Vector

    def clip(self, q: Vector) -> Vector:
        """Return q moved into the box."""
        inside: Vector = np.minimum(np.maximum(q, self.lower), self.upper)
        return inside


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """
    State of a descent: joints (n,), the residual's error (m,) there, and its sum of squares.

    first, second: the errors that are compared with the tolerances.
    """

    q: Vector
    error: Vector
    first: float
    second: float
    cost: float


def descend(
    residual: Callable[[Vector], tuple[Vector, float, float]],
    jacobian: Callable[[Vector], Vector],
    *,
    start: Vector,
    box: Box,
    posture: Vector | None,
    posture_gain: float,
    tolerances: tuple[float, float],
    iterations: int,
) -> Descent:
    """
    Minimise |residual| inside the box.

    :param residual: q -> error (m,) whose derivative is -jacobian, and the two errors that are
        compared with the tolerances.
    :param posture: joints (n,) that redundant directions are pulled to; None: no pull.
    """
    here, rows = _at(start, residual), jacobian(start)
    damping, stalled = FIRST_DAMPING, 0
    for _ in range(iterations):
        if here.first <= tolerances[0] and here.second <= tolerances[1]:
            break
        step = _step(rows, here, box, damping)
        if posture is not None:
            step = step + _sideways(rows, step, here, box, posture, posture_gain)
        there = _at(box.clip(here.q + step), residual)
        if there.cost >= here.cost:
            damping *= STIFFEN
            if damping > MOST_DAMPING:
                break
            continue
        stalled = stalled + 1 if there.cost > 0.96 * here.cost else 0
        here, damping = there, max(damping * EASE, LEAST_DAMPING)
        if stalled >= PATIENCE:
            break
        rows = jacobian(here.q)
    return here


def _at(q: Vector, residual: Callable[[Vector], tuple[Vector, float, float]]) -> Descent:
    """Return the state of the descent at q."""
    error, first, second = residual(q)
    return Descent(q, error, first, second, float(error @ error))


def _step(rows: Vector, here: Descent, box: Box, damping: float) -> Vector:
    """Return the damped step; joints that would leave the box stay."""
    q, error = here.q, here.error
    gradient = rows.T @ error
    free = ~(((q <= box.lower) & (gradient < 0)) | ((q >= box.upper) & (gradient > 0)))
    step = np.zeros_like(q)
    if not free.any():
        return step
    active = rows[:, free]
    normal = active @ active.T
    normal.flat[:: len(error) + 1] += damping
    step[free] = active.T @ np.linalg.solve(normal, error)
    longest = np.abs(step).max()
    return step * (LONGEST_STEP_RAD / longest) if longest > LONGEST_STEP_RAD else step


def _sideways(
    rows: Vector, step: Vector, here: Descent, box: Box, posture: Vector, posture_gain: float
) -> Vector:
    """Return a pull towards the posture that leaves the residual unchanged to first order."""
    q, gain = here.q, posture_gain * min(1.0, FADE * here.cost**0.5)
    pull = box.clip(q + step + gain * (posture - q)) - (q + step)
    normal = rows @ rows.T
    normal.flat[:: len(rows) + 1] += LEAST_DAMPING
    return pull - rows.T @ np.linalg.solve(normal, rows @ pull)
