# SPDX-License-Identifier: Apache-2.0
"""Writes an adapted policy: for our node and the authors' code, and for LeRobot."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from xvla_ros.model.checkpoint import write_weights
from xvla_ros.model.config import authors_json
from xvla_ros.model.conversion import lerobot_json, write_companions, write_own
from xvla_ros.model.lerobot_processors import processors_json
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.writing import write_json
from xvla_ros.model.xvla import XVLA


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """
    What a checkpoint is made of.

    state: weights by the network's names. tokenizer: folder that its files are copied from.
    """

    network: XVLA
    state: Mapping[str, torch.Tensor]
    images: ImageProcessor
    tokenizer: Path


def write_policy(folder: Path, files: Files) -> None:
    """Write a checkpoint in the authors' layout; the weights last, as a whole."""
    write_companions(folder, files.images, files.tokenizer)
    write_json(folder / 'config.json', authors_json(files.network.config))
    write_weights(folder, files.state, '2toinf')


def write_lerobot(folder: Path, files: Files, domain: int) -> None:
    """
    Write a checkpoint in LeRobot's layout (0.4 and newer), with its processors.

    :param domain: row that LeRobot uses; without it, that is row 0.
    """
    network = files.network
    write_companions(folder, files.images, files.tokenizer)
    config = lerobot_json(network.config, network, files.images.size)
    write_json(folder / 'config.json', config)
    write_own(folder, network.config)
    for name, data in processors_json(config, domain).items():
        write_json(folder / name, data)
    write_weights(folder, files.state, 'lerobot')
