# SPDX-License-Identifier: Apache-2.0
"""A real, small checkpoint that always answers the same pose, for tests and benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.model.writing import save_policy
from xvla_ros.model.xvla import XVLA
from xvla_ros.runtime.home import home_poses
from xvla_ros.testing.miniature import small_network, small_tokenizer

# Logit of a gripper's probability of being closed: open.
OPEN = -9.0
GRIPPERS = [9, 19]
AWAY_RAD = -0.2


def write_still(folder: Path, embodiment: Embodiment, away_m: Sequence[float]) -> Path:
    """
    Write a random network whose last layer ignores its input; it costs what it always costs.

    :param away_m: (3,) from the home pose of every arm to the pose answered, base frame, metres.
        A joint-space embodiment's joints are answered AWAY_RAD from home instead.
    """
    network, answer = _network(embodiment, away_m)
    decoder = network.transformer.action_decoder
    with torch.no_grad():
        decoder.fc.weight.zero_()
        decoder.bias.weight.zero_()
        decoder.bias.weight[:, : len(answer)] = torch.tensor(answer, dtype=torch.float32)
    save_policy(folder, network, small_tokenizer(), (40, 40), None)
    return folder


def _network(embodiment: Embodiment, away_m: Sequence[float]) -> tuple[XVLA, NDArray[np.floating]]:
    """Return a random network for an embodiment, and the pose that it shall answer."""
    if embodiment.joint_space:
        return _joint_network(embodiment, AWAY_RAD)
    arms = [
        ArmPose(position=home.position + np.array(away_m), quaternion=home.quaternion, gripper=0.0)
        for home in home_poses(embodiment)
    ]
    answer = pack(arms, embodiment.policy.rotation_6d_layout)
    answer[GRIPPERS] = OPEN
    return small_network(num_actions=30), answer


def _joint_network(embodiment: Embodiment, away_rad: float) -> tuple[XVLA, NDArray[np.floating]]:
    """Return the same for joints: every joint so far from home, the grippers half open."""
    profile = JointProfile(embodiment)
    homes = [[*(q + away_rad for q in arm.home_rad), 0.5] for arm in embodiment.arms.values()]
    chunk = Chunk(
        stamp_ns=0,
        period_s=1.0,
        actions=np.concatenate(homes)[None],
        joint_counts=embodiment.joint_counts,
    )
    mode: dict[str, Any] = {
        'action_mode': 'auto',
        'real_action_dim': profile.width,
        'max_action_dim': 20,
    }
    return small_network(num_actions=30, **mode), profile.raw(chunk)[0]
