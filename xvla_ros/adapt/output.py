# SPDX-License-Identifier: Apache-2.0
"""Writes an adapted policy: for our node and the authors' code, and for LeRobot."""

from collections.abc import Mapping
from pathlib import Path

import torch

from xvla_ros.model.checkpoint import write_weights
from xvla_ros.model.config import authors_json
from xvla_ros.model.conversion import lerobot_json, write_companions, write_own
from xvla_ros.model.lerobot_processors import processors_json
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.writing import write_json
from xvla_ros.model.xvla import XVLA


def write_policy(
    folder: Path,
    network: XVLA,
    state: Mapping[str, torch.Tensor],
    images: ImageProcessor,
    tokenizer: Path,
) -> None:
    """
    Write a checkpoint in the authors' layout; the weights last, as a whole.

    :param state: weights by the network's names. tokenizer: folder that its files are copied from.
    """
    write_companions(folder, images, tokenizer)
    write_json(folder / 'config.json', authors_json(network.config))
    write_weights(folder, state, '2toinf')


def write_lerobot(
    folder: Path,
    network: XVLA,
    state: Mapping[str, torch.Tensor],
    images: ImageProcessor,
    tokenizer: Path,
    domain: int,
) -> None:
    """
    Write a checkpoint in LeRobot's layout (0.4 and newer), with its processors.

    :param domain: row that LeRobot uses; without it, that is row 0.
    """
    write_companions(folder, images, tokenizer)
    config = lerobot_json(network.config, network, images.size)
    write_json(folder / 'config.json', config)
    write_own(folder, network.config)
    for name, data in processors_json(config, domain).items():
        write_json(folder / name, data)
    write_weights(folder, state, 'lerobot')
