# SPDX-License-Identifier: Apache-2.0
"""The state of a run on disk, written as a whole, checked when a run goes on."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from xvla_ros.adapt.trainer.trainer import Trainer
from xvla_ros.core.errors import ConfigError

STATE = 'state.pt'


def save_state(folder: Path, trainer: Trainer, **more: object) -> None:
    """
    Write the state of a trainer; a crash while writing leaves the one before.

    :param more: plain values that are returned by `restore_state`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f'{STATE}.partial'
    torch.save({**trainer.state(), 'more': more}, partial)
    partial.replace(folder / STATE)


def restore_state(folder: Path, trainer: Trainer) -> dict[str, Any]:
    """
    Have a trainer go on where a run stopped.

    :return: the values that were saved with the state.
    :raises ConfigError: there is no state, it cannot be read, or it is of another run.
    """
    path = folder / STATE
    try:
        state = torch.load(path, map_location=trainer.student.device, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError) as error:
        raise ConfigError(f'{path}: no state to go on from: {error}') from error
    check_same(path, state['facts'], trainer.facts())
    trainer.restore(state)
    more: dict[str, Any] = state['more']
    return more


def check_same(path: Path, saved: Mapping[str, object], current: Mapping[str, object]) -> None:
    """Refuse a state that another seed, plan, batch size or other data led to."""
    for name in {**saved, **current}:
        if saved.get(name) != current.get(name):
            raise ConfigError(
                f'{path}: is of a run with {name} {saved.get(name)}, this one has '
                f'{current.get(name)}; give the same options and data, or another --out'
            )
