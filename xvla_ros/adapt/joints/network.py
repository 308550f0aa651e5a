# SPDX-License-Identifier: Apache-2.0
"""Gives a checkpoint another action space: new projections, all else is kept."""

from dataclasses import replace
import math

import torch

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import CheckpointError
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.model.xvla import build_network, XVLA

# Projections of states and actions; only these depend on what the numbers mean.
PROJECTIONS = ('transformer.action_encoder.', 'transformer.action_decoder.')
# Scale of new weights, in units of 1 / sqrt(inputs). Little noise at first, and answers near the
# mean: the head of a trained network has had neither at full size (docs/training.md).
NOISE_SCALE = 0.3
DECODER_SCALE = 0.1


def answers_joints(network: XVLA, embodiment: Embodiment) -> bool:
    """Say whether a network has the action mode and width of a robot in joint space already."""
    same = network.config.action_mode == embodiment.policy.action_mode
    return same and network.mode.real_dim == JointProfile(embodiment).width


def in_joint_space(network: XVLA, embodiment: Embodiment, source: int, seed: int) -> XVLA:
    """
    Return a network with the robot's action mode.

    Its projections are new, the same in each row, with biases of zero, which tell that a row has
    not been trained. What is not about states and actions is kept: encoder, core, prompts.

    :param source: row that the projection of the flow time is taken from.
    :raises CheckpointError: its actions are wider than the network.
    """
    config = replace(
        network.config,
        action_mode=embodiment.policy.action_mode,
        real_action_dim=JointProfile(embodiment).width,
        dim_proprio=None,
        schema='lerobot',
        first_anchor_index=0,
    )
    made = build_network(config, seed)
    if made.mode.real_dim != config.real_action_dim:
        raise CheckpointError(
            f"action mode '{config.action_mode}' has {made.mode.real_dim} numbers, the joints "
            f"tables of embodiment '{embodiment.robot}' have {config.real_action_dim}"
        )
    known = {n: t for n, t in network.state_dict().items() if not n.startswith(PROJECTIONS)}
    made.load_state_dict(known, strict=False)
    set_projections(made, network, source, torch.Generator().manual_seed(seed))
    return made


def set_projections(made: XVLA, old: XVLA, source: int, generator: torch.Generator) -> None:
    """Fill the projections of all rows with the same weights, for numbers of unit variance."""
    head, before = made.transformer, old.transformer.action_encoder
    inner, hidden = head.action_encoder.dim_in, head.action_encoder.dim_out
    encoder = torch.randn(inner, hidden, generator=generator) / math.sqrt(inner)
    encoder[: head.dim_action] *= NOISE_SCALE
    decoder = torch.randn(hidden, head.dim_action, generator=generator) / math.sqrt(hidden)
    with torch.no_grad():
        times = before.fc.weight[source].view(before.dim_in, hidden)[-head.dim_time :]
        encoder[-head.dim_time :] = times
        for projection, weight in (
            (head.action_encoder, encoder),
            (head.action_decoder, DECODER_SCALE * decoder),
        ):
            projection.fc.weight[:] = weight.flatten()
            projection.bias.weight.zero_()
