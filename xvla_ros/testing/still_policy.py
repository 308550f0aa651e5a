# SPDX-License-Identifier: Apache-2.0
"""A real, small checkpoint that always answers the same pose, for tests and benchmarks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.model.writing import save_policy
from xvla_ros.runtime.home import home_poses
from xvla_ros.testing.miniature import small_network, small_tokenizer

# Logit of a gripper's probability of being closed: open.
OPEN = -9.0
GRIPPERS = [9, 19]


def write_still(folder: Path, embodiment: Embodiment, away_m: Sequence[float]) -> Path:
    """
    Write a random network whose last layer ignores its input; it costs what it always costs.

    :param away_m: (3,) from the home pose of every arm to the pose answered, base frame, metres.
    """
    arms = [
        ArmPose(position=home.position + np.array(away_m), quaternion=home.quaternion, gripper=0.0)
        for home in home_poses(embodiment)
    ]
    answer = pack(arms, embodiment.policy.rotation_6d_layout)
    answer[GRIPPERS] = OPEN
    network = small_network(num_actions=30)
    decoder = network.transformer.action_decoder
    with torch.no_grad():
        decoder.fc.weight.zero_()
        decoder.bias.weight[:] = torch.tensor(answer, dtype=torch.float32)
    save_policy(folder, network, small_tokenizer(), (40, 40), None)
    return folder
