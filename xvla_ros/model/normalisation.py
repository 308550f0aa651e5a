# SPDX-License-Identifier: Apache-2.0
"""
The statistics of a LeRobot checkpoint, as one affine map per channel.

LeRobot normalises the state before the network and un-normalises the actions after it. The steps
are in two files beside the weights, `policy_preprocessor.json` and `policy_postprocessor.json`;
each names the safetensors file with the statistics (lerobot 0.4.4,
processor/normalize_processor.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from xvla_ros.core.errors import CheckpointError, ObservationError
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.reading import check_readable, read_json

PREPROCESSOR, POSTPROCESSOR = 'policy_preprocessor.json', 'policy_postprocessor.json'
NORMALIZER, UNNORMALIZER = 'normalizer_processor', 'unnormalizer_processor'
STATE, ACTION = 'observation.state', 'action'
IDENTITY = 'IDENTITY'
# Two statistics of each mode. MEAN_STD maps them to 0 and 1 standard deviation, the others map
# them to -1 and +1.
MODES = {
    'MEAN_STD': ('mean', 'std'),
    'MIN_MAX': ('min', 'max'),
    'QUANTILES': ('q01', 'q99'),
    'QUANTILE10': ('q10', 'q90'),
}
# Steps that change no number of state or action, or change it as this package does: names,
# batches, tokens, images, the domain. The last one converts rotations after the action's 20
# numbers, which are the output here.
KNOWN_STEPS = (
    *(NORMALIZER, UNNORMALIZER, 'rename_observations_processor', 'to_batch_processor'),
    *('tokenizer_processor', 'device_processor', 'xvla_image_to_float'),
    *('xvla_imagenet_normalize', 'xvla_image_scale', 'xvla_add_domain_id'),
    'xvla_rotation_6d_to_axis_angle',
)
# Added to a standard deviation, and in place of a range of zero, unless the step has its own.
EPS = 1e-8

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Affine:
    """
    The map between a dataset's numbers and the network's, per channel.

    normalised = (data - shift) / divisor; data = normalised * factor + shift. All are (n,).
    LeRobot adds a small number to a standard deviation on the way in only, so divisor and factor
    differ.
    """

    mode: str
    shift: Array
    divisor: Array
    factor: Array

    def normalised(self, data: NDArray[Any]) -> Array:
        """Return the network's numbers (..., m >= n); channels after the first n are unchanged."""
        values = np.array(data, np.float64)
        mine = values[..., : len(self.shift)]
        mine[...] = (mine - self.shift) / self.divisor
        return values

    def restored(self, normalised: NDArray[Any]) -> Array:
        """Return the dataset's numbers (..., m >= n)."""
        values = np.array(normalised, np.float64)
        mine = values[..., : len(self.shift)]
        mine[...] = mine * self.factor + self.shift
        return values

    def cut(self, width: int) -> 'Affine':
        """Return the map of the first channels."""
        return Affine(
            mode=self.mode,
            shift=self.shift[:width],
            divisor=self.divisor[:width],
            factor=self.factor[:width],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalisation:
    """The maps of the state before and of the actions after the network; None: no change."""

    state: Affine | None = None
    action: Affine | None = None

    def of_state(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's state (n,) of one in the dataset's units."""
        return state if self.state is None else self.state.normalised(state).astype(np.float32)

    def of_actions(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's actions (T, n) of those in the dataset's units."""
        if self.action is None:
            return actions
        return self.action.normalised(actions).astype(np.float32)

    def restored(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return actions (..., n) in the dataset's units of those that the network answered."""
        if self.action is None:
            return actions
        return self.action.restored(actions).astype(np.float32)

    def check_tolerance(self) -> None:
        """
        Refuse to compare two predictions in millimetres and degrees.

        :raises ObservationError: the network's actions have neither unit, they are normalised.
        """
        if self.action is not None:
            raise ObservationError(
                f'tolerance: the actions of this checkpoint are normalised ({self.action.mode}), '
                'so two predictions cannot be compared in millimetres and degrees; expected none'
            )


def read_normalisation(
    folder: Path, config: NetworkConfig, state: int, action: int
) -> Normalisation:
    """
    Read both processor files of a checkpoint directory; without them nothing is normalised.

    :param state: length of the network's state. LeRobot cuts a longer one after normalising it.
    :param action: length of an answered action, which the statistics must have.
    :raises CheckpointError: statistics are needed and missing or misshapen, `config.json` and the
        processor files contradict each other, or a processor has a step that is not known here.
    """
    wanted = config.extra.get('normalization_mapping', {})
    before = _affine(folder / PREPROCESSOR, NORMALIZER, STATE, 'STATE', wanted)
    after = _affine(folder / POSTPROCESSOR, UNNORMALIZER, ACTION, 'ACTION', wanted)
    if after is not None and len(after.shift) != action:
        raise CheckpointError(
            f'{folder / POSTPROCESSOR}: its statistics are of {len(after.shift)} action numbers, '
            f'expected {action}, what the action mode answers'
        )
    return Normalisation(state=before and before.cut(state), action=after)


def _affine(
    path: Path, name: str, feature: str, kind: str, wanted: Mapping[str, str]
) -> Affine | None:
    """Read the map of one feature from one processor file."""
    step = processor_step(path, name)
    told = wanted.get(kind, IDENTITY)
    mode = (step_settings(step).get('norm_map') or {}).get(kind, IDENTITY) if step else IDENTITY
    if mode != told:
        reason = f'says {mode}' if step else f'has no step {name}' if path.is_file() else 'missing'
        raise CheckpointError(
            f'{path}: {reason}, but config.json says normalization_mapping.{kind} {told}; '
            'copy the processor files that were saved with these weights'
        )
    if step is None or mode == IDENTITY or not _applies(step, feature):
        return None
    return _from_statistics(path, step, feature, mode)


def processor_step(path: Path, name: str) -> Mapping[str, Any] | None:
    """Return the step with this name, or None; refuse a file with an unknown step."""
    if not path.is_file():
        return None
    found = None
    for step in read_json(path).get('steps') or ():
        called = step.get('registry_name') or step.get('class')
        if called not in KNOWN_STEPS:
            raise CheckpointError(
                f'{path}: step {called!r} is not known, expected only {", ".join(KNOWN_STEPS)}'
            )
        found = step if called == name else found
    return found


def step_settings(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a step."""
    settings: Mapping[str, Any] = step.get('config') or {}
    return settings


def _applies(step: Mapping[str, Any], feature: str) -> bool:
    """Say whether a step changes a feature; it may list the observations that it changes."""
    listed = step_settings(step).get('normalize_observation_keys')
    return feature == ACTION or listed is None or feature in listed


def _from_statistics(path: Path, step: Mapping[str, Any], feature: str, mode: str) -> Affine:
    """Build the map of one mode from the statistics that a step names."""
    if mode not in MODES:
        raise CheckpointError(f'{path}: mode {mode!r} is unknown; known: {", ".join(MODES)}')
    file = statistics_file(path, step)
    stored = read_statistics(file)
    first, second = (_statistic(stored, f'{feature}.{part}', file) for part in MODES[mode])
    if first.shape != second.shape:
        raise CheckpointError(f'{file}: the statistics of {feature} differ in length')
    return affine(mode, first, second, float(step_settings(step).get('eps', EPS)))


def affine(mode: str, first: Array, second: Array, eps: float) -> Affine:
    """Build the map of one mode from its two statistics (n,), see MODES."""
    if mode == 'MEAN_STD':
        return Affine(mode=mode, shift=first, divisor=second + eps, factor=second)
    half = np.where(second == first, eps, second - first) / 2.0
    return Affine(mode=mode, shift=first + half, divisor=half, factor=half)


def statistics_file(path: Path, step: Mapping[str, Any]) -> Path:
    """Return the file named by a step of the processor file at `path`."""
    return path.parent / Path(str(step.get('state_file'))).name


def read_statistics(file: Path) -> dict[str, Array]:
    """Read all statistics of a step, by `<feature>.<statistic>`."""
    check_readable(file)
    try:
        return {name: np.asarray(v, np.float64) for name, v in load_file(file).items()}
    except SafetensorError as error:
        raise CheckpointError(f'{file}: cut or not safetensors ({error})') from error


def _statistic(stored: Mapping[str, Array], name: str, file: Path) -> Array:
    """Return one statistic (n,)."""
    if name not in stored:
        raise CheckpointError(f'{file}: {name} missing; it has {", ".join(sorted(stored))}')
    values = stored[name].reshape(-1)
    if not values.size or not np.isfinite(values).all():
        raise CheckpointError(f'{file}: {name} is empty or not finite')
    return values
