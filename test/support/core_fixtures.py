# SPDX-License-Identifier: Apache-2.0
"""Embodiments, poses and chunks for tests without ROS."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment

CONFIG = Path(__file__).parents[2] / 'config'


@pytest.fixture(scope='session')
def franka():
    """One arm."""
    return load_embodiment(CONFIG / 'franka_sim.yaml')


@pytest.fixture(scope='session')
def two_arms():
    """Two arms whose tools must stay 10 cm apart, in boxes with a slanted plane."""
    overrides = {'limits.min_arm_distance_m': 0.1, 'limits.on_arm_distance': 'clamp'}
    for name in ('left', 'right'):
        overrides[f'arms.{name}.half_spaces'] = [0.6, 0.0, 0.8, 0.15]
    return load_embodiment(CONFIG / 'agilex_sim.yaml', overrides)


@pytest.fixture(scope='session')
def pose():
    """Make one arm's pose, pointing down unless a rotation vector [rad] says otherwise."""

    def make(x=0.5, y=0.0, z=0.3, turn=(np.pi, 0.0, 0.0), gripper=1.0):
        quaternion = Rotation.from_rotvec(turn).as_quat()
        return ArmPose(position=np.array([x, y, z]), quaternion=quaternion, gripper=gripper)

    return make


@pytest.fixture(scope='session')
def line():
    """Make a chunk that moves along a straight line at 0.1 m/s, turning and closing on its way."""

    def make(
        stamp_ns=0,
        count=30,
        period_s=0.1,
        start=(0.5, 0.0, 0.3),
        velocity=(0.1, 0.0, 0.0),
        first=1,
    ):
        steps = np.arange(count)
        actions = np.zeros((count, 20))
        actions[:, :3] = start + (steps[:, None] + first) * period_s * np.array(velocity)
        turns = np.outer(np.pi - 0.01 * steps, [1.0, 0.0, 0.0])
        actions[:, 3:9] = Rotation.from_rotvec(turns).as_matrix()[:, :, :2].reshape(count, 6)
        actions[:, 9] = steps >= count // 2
        return Chunk(
            stamp_ns=stamp_ns,
            period_s=period_s,
            actions=actions,
            sequence=1,
            first_index=first,
        )

    return make
