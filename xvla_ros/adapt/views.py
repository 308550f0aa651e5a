# SPDX-License-Identifier: Apache-2.0
"""Room for more cameras than a checkpoint was trained with."""

from dataclasses import replace

import torch

from xvla_ros.core.errors import ConfigError
from xvla_ros.model.xvla import XVLA


def make_room(network: XVLA, views: int, size: tuple[int, int]) -> None:
    """
    Give a network at least so many view slots; its weights stay the same.

    Fewer cameras than slots need no change: an empty slot stays in the sequence, as zeros.

    :param size: height and width of its images.
    :raises ConfigError: the positions of the checkpoint do not reach so far.
    """
    config = network.config
    if views <= config.view_slots:
        return
    tokens = tokens_per_view(network, size)
    length = config.num_actions + config.text_length + views * tokens
    if length > config.max_len_seq:
        most = (config.max_len_seq - config.num_actions - config.text_length) // tokens
        raise ConfigError(
            f'{views} cameras make {length} tokens, the checkpoint has positions for '
            f'{config.max_len_seq}: at most {most} cameras'
        )
    network.config = replace(config, view_slots=views)


def tokens_per_view(network: XVLA, size: tuple[int, int]) -> int:
    """Return how many tokens an image becomes: one per cell of the last map, and their mean."""
    with torch.no_grad():
        return int(network.image_features(torch.zeros(1, 3, *size)).shape[1])


def silence_views(network: XVLA) -> None:
    """
    Zero the projection of all views but the main one.

    For a checkpoint that has never seen such a view: its projection is random, and the random
    tokens would disturb what is trained. From zero it learns as much of them as helps.
    """
    projection = network.transformer.aux_visual_proj
    with torch.no_grad():
        for name, parameter in projection.named_parameters():
            if 'bias' not in name:
                parameter.zero_()
