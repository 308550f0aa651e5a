# SPDX-License-Identifier: Apache-2.0
"""Rotations that tf2 lets through though their quaternion is not of length 1; needs no tf2."""

import numpy as np
import pytest

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.resources import shared_file
from xvla_ros.nodes.common.tf_pose import unit_quaternion

pytestmark = pytest.mark.ros
ARM = load_embodiment(shared_file('config', 'franka.yaml')).arms['arm']


@pytest.mark.parametrize('length', [0.9952, 0.998, 1.0, 1.003, 1.0049])
def test_a_quaternion_that_tf2_accepts_is_normalised(length):
    quaternion = unit_quaternion(np.array([0.6, 0.0, 0.8, 0.0]) * length, ARM)
    assert quaternion == pytest.approx([0.6, 0.0, 0.8, 0.0], abs=1e-12)
    ArmPose(position=[0.4, 0.0, 0.3], quaternion=quaternion, gripper=1.0)


@pytest.mark.parametrize('length', [0.0, 0.99, 1.01, np.nan])
def test_another_is_refused_by_the_names_of_its_frames(length):
    with pytest.raises(ObservationError, match=r'TF base <- fr3_hand_tcp: .*unit quaternion'):
        unit_quaternion(np.array([0.6, 0.0, 0.8, 0.0]) * length, ARM)
