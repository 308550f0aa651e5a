# SPDX-License-Identifier: Apache-2.0
"""Checks of a policy's inputs; each error names the input."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import ObservationError
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.model.sampler import flow_times, Tolerance

# More denoising steps than this is a mistake: the reference uses 10.
MOST_STEPS = 1000


class Question(Protocol):
    """One observation with its instruction; the fields are arguments of `Policy.predict`."""

    @property
    def images(self) -> Sequence[NDArray[np.uint8]]:
        """Return (H, W, 3) uint8 RGB images, main view first."""

    @property
    def proprio(self) -> NDArray[Any]:
        """Return the state, (dim_proprio,)."""

    @property
    def instruction(self) -> str:
        """Return the instruction."""

    @property
    def domain_id(self) -> int:
        """Return the row of the soft prompt."""

    @property
    def noise(self) -> NDArray[Any] | None:
        """Return (num_actions, dim_noise) float32, or None for fresh noise."""


def checked_integer(value: Any, name: str, low: int, high: int) -> int:
    """Return an integer within bounds, or refuse it by name."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ObservationError(f'{name} is {value!r}, expected an integer')
    if not low <= value <= high:
        raise ObservationError(f'{name} is {value}, expected {low} to {high}')
    return int(value)


def checked_times(
    steps: int | Sequence[float], start: WarmStart | None = None
) -> tuple[float, ...]:
    """
    Return the flow times of a run, or refuse them.

    :param steps: number of steps, or the times themselves.
    :param start: its time is that of the first step, 1 without it. If it has no plan, a step at
        time 1 comes first.
    """
    if isinstance(steps, (list, tuple)):
        numbers = all(isinstance(t, (int, float)) and 0.0 < t <= 1.0 for t in steps)
        if not numbers or not 1 <= len(steps) <= MOST_STEPS:
            raise ObservationError(f'steps is {steps!r}, expected a number, or times in (0, 1]')
        times = tuple(float(t) for t in steps)
    else:
        count = checked_integer(steps, 'steps', 1, MOST_STEPS)
        times = flow_times(count, start.time if start else 1.0)
    unplanned = start is not None and start.plan is None and times[0] < 1.0
    return (1.0, *times) if unplanned else times


def checked_tolerance(value: Tolerance | tuple[float, float] | None) -> Tolerance | None:
    """Return a tolerance, also from a pair (millimetres, degrees), or refuse it."""
    if value is None or isinstance(value, Tolerance):
        return value
    pair = np.asarray(value, dtype=object)
    numbers = pair.shape == (2,) and all(isinstance(x, (int, float, np.number)) for x in pair)
    if not numbers or not all(0.0 <= x < np.inf for x in pair):
        raise ObservationError(f'tolerance is {value!r}, expected (millimetres, degrees)')
    return Tolerance(position_mm=float(pair[0]), rotation_deg=float(pair[1]))


def checked_array(values: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    """Return a float32 copy of finite numbers of the right shape, or refuse them."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in 'fiu':
        raise ObservationError(f'{name} is a {type(values).__name__}, expected {shape} floats')
    if values.shape != shape:
        raise ObservationError(f'{name} has shape {values.shape}, expected {shape}')
    with np.errstate(over='ignore'):
        array = values.astype(np.float32)
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ObservationError(f'{name}{where} is {values[tuple(where)]}, expected a number')
    return array
