# SPDX-License-Identifier: Apache-2.0
"""The statistics that LeRobot keeps of each feature, of an episode and of all."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistics = dict[str, Array]
QUANTILES = {'q01': 0.01, 'q10': 0.10, 'q50': 0.50, 'q90': 0.90, 'q99': 0.99}
# Statistics use at most this many images of an episode, and every PIXEL_STEP-th pixel.
MOST_IMAGES, PIXEL_STEP = 8, 4


def of_numbers(values: NDArray[np.generic]) -> Statistics:
    """Return the statistics of rows (F, N), each (N,); count (1,)."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    return _statistics(rows, len(rows))


def of_images(images: Sequence[NDArray[np.uint8]], count: int) -> Statistics:
    """Return the statistics of images (H, W, 3) by colour, 0 to 1: each (3, 1, 1)."""
    flat = [p[::PIXEL_STEP, ::PIXEL_STEP].reshape(-1, 3) for p in images]
    found = _statistics(np.concatenate(flat) / 255.0, count)
    return {name: v if name == 'count' else v.reshape(3, 1, 1) for name, v in found.items()}


def _statistics(rows: Array, count: int) -> Statistics:
    made = {
        'min': rows.min(axis=0),
        'max': rows.max(axis=0),
        'mean': rows.mean(axis=0),
        'std': rows.std(axis=0),
        'count': np.array([count], np.int64),
    }
    return made | {name: np.quantile(rows, q, axis=0) for name, q in QUANTILES.items()}


def together(episodes: Sequence[Mapping[str, Statistics]]) -> dict[str, Statistics]:
    """
    Return the statistics of all episodes, by feature.

    Quantiles are the weighted means of the episodes' quantiles, as LeRobot's are.
    """
    return {key: _together([episode[key] for episode in episodes]) for key in episodes[0]}


def _together(parts: Sequence[Statistics]) -> Statistics:
    counts = np.array([float(part['count'][0]) for part in parts])

    def mean(values: Sequence[Array]) -> Array:
        return np.asarray(np.average(np.stack(values), axis=0, weights=counts))

    centre = mean([part['mean'] for part in parts])
    spread = mean([part['std'] ** 2 + (part['mean'] - centre) ** 2 for part in parts])
    made = {
        'min': np.min([part['min'] for part in parts], axis=0),
        'max': np.max([part['max'] for part in parts], axis=0),
        'mean': centre,
        'std': np.sqrt(spread),
        'count': np.array([int(counts.sum())], np.int64),
    }
    return made | {name: mean([part[name] for part in parts]) for name in QUANTILES}
