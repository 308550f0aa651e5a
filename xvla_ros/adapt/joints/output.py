# SPDX-License-Identifier: Apache-2.0
"""Writes a policy in joint space as LeRobot does: its statistics are in the processors' files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
import shutil

import numpy as np
from safetensors.numpy import save_file
import torch

from xvla_ros.adapt.joints.statistics import Units
from xvla_ros.adapt.output import Files
from xvla_ros.model.checkpoint import write_weights
from xvla_ros.model.conversion import lerobot_json, PROCESSOR_FILES, write_companions, write_own
from xvla_ros.model.lerobot_processors import processors_json, state_files
from xvla_ros.model.writing import write_json


def write_joint_policy(
    folder: Path,
    files: Files,
    domain: int,
    units: Units,
    dtype: torch.dtype | None = None,
) -> None:
    """
    Write a checkpoint in LeRobot's layout; the weights last, as a whole.

    :param domain: row that LeRobot uses. dtype: what to store; None: as the state is.
    """
    network = files.network
    write_companions(folder, files.images, files.tokenizer)
    extra = network.config.extra
    if units.kept is None:
        extra = {**extra, 'normalization_mapping': units.mapping}
    config = lerobot_json(replace(network.config, extra=extra), network, files.images.size)
    # LeRobot pads a state after it has normalised it, so its own length is that of the actions.
    config['input_features']['observation.state']['shape'] = [network.mode.real_dim]
    write_json(folder / 'config.json', config)
    write_own(folder, network.config)
    if units.kept is not None:
        for file in units.kept.glob(PROCESSOR_FILES):
            if units.kept != folder:
                shutil.copy(file, folder / file.name)
    else:
        write_processors(folder, config, domain, units)
    write_weights(folder, files.state, 'lerobot', dtype)


def write_processors(
    folder: Path, config: Mapping[str, object], domain: int, units: Units
) -> None:
    """Write both pipelines and the statistics that they name."""
    statistics = {name: value.astype(np.float32) for name, value in units.statistics.items()}
    files = processors_json(config, domain, units.mapping)
    for name, data in files.items():
        write_json(folder / name, data)
        if statistics:
            for file in state_files(data):
                save_file(statistics, str(folder / file))
