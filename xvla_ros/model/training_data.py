# SPDX-License-Identifier: Apache-2.0
"""
Reads what a LeRobot checkpoint stores about its training data: features, cameras, statistics.

Statistics are stored also for IDENTITY, which does not apply them. They still show the data's
units, see `xvla_ros.core.joint_detective`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.checkpoints import CONFIG
from xvla_ros.model.normalisation import (
    ACTION,
    IDENTITY,
    NORMALIZER,
    POSTPROCESSOR,
    PREPROCESSOR,
    processor_step,
    read_statistics,
    STATE,
    statistics_file,
    step_settings,
    UNNORMALIZER,
)
from xvla_ros.model.reading import read_json

TRAIN_CONFIG = 'train_config.json'
CAMERA, ADDED = 'observation.images.', 'observation.images.empty_camera_'
# Actions with a larger spread than this and without normalisation are visible through the noise at
# most noise levels: x = t * noise + (1 - t) * action is mostly action for t < s / (1 + s).
WIDE = 3.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureStatistics:
    """
    The statistics of a feature of n numbers.

    mode: the normalisation, `IDENTITY` for none. values: (n,) by name: mean, std, min, max and
    quantiles, in the data's units; empty if none are stored.
    """

    mode: str
    values: Mapping[str, NDArray[np.float64]]

    @property
    def spread(self) -> NDArray[np.float64] | None:
        """Standard deviation (n,), if not stored from the range; None without either."""
        if 'std' in self.values:
            return self.values['std']
        if {'min', 'max'} <= self.values.keys():
            return (self.values['max'] - self.values['min']) / 4.0
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """
    The training data of a checkpoint.

    features: shape by name, inputs and outputs. cameras: names in the order of the images. empty:
    number of slots without a camera. dataset: its name on the hub, or None.
    """

    features: Mapping[str, tuple[int, ...]]
    cameras: tuple[str, ...]
    empty: int
    statistics: Mapping[str, FeatureStatistics]
    dataset: str | None

    def warnings(self) -> Iterator[str]:
        """Yield warnings about the statistics."""
        action = self.statistics.get(ACTION)
        spread = None if action is None else action.spread
        if action is None or spread is None or action.mode != IDENTITY:
            return
        widest = float(spread.max())
        if widest > WIDE:
            yield (
                f'actions spread by up to {widest:.1f} and are not normalised: at '
                f'{widest / (1 + widest):.0%} of the noise levels of its training the answer '
                'showed through the noise. Expect larger errors than from normalised actions '
                '(in a small experiment 4 times at a spread of 50), and no gain from more than '
                'one or two denoising steps; train again with MEAN_STD'
            )


def read_training_data(folder: Path, view_slots: int) -> TrainingData:
    """
    Read a folder's facts about its data; a checkpoint of the authors has none.

    :param view_slots: number of view slots of the network.
    :raises CheckpointError: a processor file or its statistics cannot be read.
    """
    config = read_json(folder / CONFIG)
    features = {
        name: tuple(feature.get('shape') or ())
        for block in ('input_features', 'output_features')
        for name, feature in (config.get(block) or {}).items()
        if not name.startswith(ADDED)
    }
    cameras = tuple(
        name.removeprefix(CAMERA)
        for name, feature in (config.get('input_features') or {}).items()
        if feature.get('type') == 'VISUAL' and not name.startswith(ADDED)
    )
    return TrainingData(
        features=features,
        cameras=cameras,
        empty=max(view_slots - len(cameras), 0) if cameras else 0,
        statistics=stored_statistics(folder),
        dataset=_dataset(folder),
    )


def stored_statistics(folder: Path) -> dict[str, FeatureStatistics]:
    """Return the statistics of state and action, applied or not, by the feature's name."""
    found = {}
    for file, name, feature, kind in (
        (PREPROCESSOR, NORMALIZER, STATE, 'STATE'),
        (POSTPROCESSOR, UNNORMALIZER, ACTION, 'ACTION'),
    ):
        step = processor_step(folder / file, name)
        if step is not None:
            found[feature] = _of_step(folder / file, step, feature, kind)
    return found


def _of_step(path: Path, step: Mapping[str, Any], feature: str, kind: str) -> FeatureStatistics:
    values: dict[str, NDArray[np.float64]] = {}
    file = statistics_file(path, step)
    if step.get('state_file') and file.is_file():
        begin = f'{feature}.'
        stored = read_statistics(file)
        values = {n.removeprefix(begin): v for n, v in stored.items() if n.startswith(begin)}
    mode = (step_settings(step).get('norm_map') or {}).get(kind, IDENTITY)
    return FeatureStatistics(mode=mode, values={n: v.reshape(-1) for n, v in values.items()})


def _dataset(folder: Path) -> str | None:
    """Return the name of the dataset that lerobot-train stores beside the weights."""
    if not (folder / TRAIN_CONFIG).is_file():
        return None
    block = read_json(folder / TRAIN_CONFIG).get('dataset')
    name = block.get('repo_id') if isinstance(block, Mapping) else None
    return str(name) if name else None
