# SPDX-License-Identifier: Apache-2.0
"""The units that a network is trained in: from its data's statistics, or its own ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.model.normalisation import (
    ACTION,
    EPS,
    IDENTITY,
    MODES,
    Normalisation,
    read_normalisation,
    STATE,
)
from xvla_ros.model.normalisation import (
    affine as affine_map,
)
from xvla_ros.model.xvla import XVLA

Array = NDArray[np.float64]
# How new data is normalised. LeRobot's processors apply this mode in the same way.
MODE = 'MEAN_STD'
# A channel counts as spread by at least this much of a radian, or of a gripper's way. Otherwise a
# channel that stands still in the data would be scaled up to mere sensor noise.
LEAST_SPREAD = 0.02
QUANTILES = {'q01': 0.01, 'q10': 0.1, 'q90': 0.9, 'q99': 0.99}


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """
    Converts between the data's numbers and the network's.

    mode: of the statistics, IDENTITY for none. statistics: by `<feature>.<statistic>`, of new
    data. kept: folder whose processor files say it, where a checkpoint keeps its own.
    """

    mode: str = IDENTITY
    normalisation: Normalisation = field(default_factory=Normalisation)
    statistics: Mapping[str, Array] = field(default_factory=dict)
    kept: Path | None = None

    @property
    def mapping(self) -> dict[str, str]:
        """Return what `config.json` says of it."""
        return {'VISUAL': IDENTITY, 'STATE': self.mode, 'ACTION': self.mode}


def kept_units(folder: Path, network: XVLA) -> Units:
    """
    Return the units that a checkpoint in joint space has already.

    :raises CheckpointError: its processor files cannot be read.
    """
    found = read_normalisation(folder, network.config, network.dim_proprio, network.mode.real_dim)
    return Units(normalisation=found, kept=folder)


def check_poses(folder: Path, network: XVLA) -> None:
    """
    Check that a checkpoint predicts poses of tools, as they are: none has statistics there.

    :raises ConfigError: it predicts something else, or has statistics of states or actions.
    """
    mode = network.config.action_mode
    if not mode.endswith('ee6d'):
        raise ConfigError(
            f"the checkpoint's action_mode is {mode!r}, but the robot is driven by tool poses; "
            "expected 'ee6d' or 'agibot_ee6d'"
        )
    found = kept_units(folder, network).normalisation
    for kind, affine in (('states', found.state), ('actions', found.action)):
        if affine is not None:
            raise ConfigError(
                f'{folder}: normalises {kind} ({affine.mode}), which xvla adapt does not apply to '
                'tool poses; expected a checkpoint without statistics'
            )


def new_units(
    network: XVLA,
    embodiment: Embodiment,
    states: NDArray[np.float32],
    actions: NDArray[np.float32],
) -> Units:
    """
    Return units by the statistics of data; none for a mode whose grippers are probabilities.

    :param states: (N, n) and actions (N, T, n), in the units of the joints table.
    """
    if network.mode.gripper_is_logit:
        return Units()
    least = LEAST_SPREAD * scales(embodiment)
    stored = {
        **statistics_of(STATE, states, least),
        **statistics_of(ACTION, actions.reshape(-1, actions.shape[-1]), least),
    }
    first, second = MODES[MODE]
    state, action = (
        affine_map(MODE, stored[f'{feature}.{first}'], stored[f'{feature}.{second}'], EPS)
        for feature in (STATE, ACTION)
    )
    normalisation = Normalisation(state=state, action=action)
    return Units(mode=MODE, normalisation=normalisation, statistics=stored)


def scales(embodiment: Embodiment) -> Array:
    """Return how many of the model's numbers a radian, or a gripper's whole way, is: (n,)."""
    maps = [arm.joint_map() for arm in embodiment.arms.values()]
    found = np.zeros(sum(len(joints.index) for joints in maps))
    for joints in maps:
        found[joints.index] = np.abs(joints.scale)
    return found


def statistics_of(feature: str, values: NDArray[np.float32], least: Array) -> dict[str, Array]:
    """
    Return LeRobot's statistics of values (N, n), by name.

    :param least: (n,) least standard deviation.
    """
    data = values.astype(np.float64)
    found = {
        'mean': data.mean(axis=0),
        'std': np.maximum(data.std(axis=0), least),
        'min': data.min(axis=0),
        'max': data.max(axis=0),
        **{name: np.quantile(data, share, axis=0) for name, share in QUANTILES.items()},
        'count': np.array([len(data)], np.float64),
    }
    return {f'{feature}.{name}': value for name, value in found.items()}
