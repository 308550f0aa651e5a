# SPDX-License-Identifier: Apache-2.0
"""The scripted expert: the shape, speed and repeatability of its plans."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.expert import Expert
from xvla_ros.sim.scenes import sample_scene, TRAIN

BLOCK = np.array([0.30, 0.05, 0.02])
HOVER = np.array([0.30, 0.05, 0.09])


@pytest.fixture(scope='module')
def embodiment():
    return load_embodiment(shared_file('config', 'widowx_sim.yaml'))


@pytest.fixture
def plan(embodiment):
    expert, scene = Expert(embodiment), sample_scene(embodiment, TRAIN, 0, 0)

    def call(position, turn=(0.0, 0.0, 0.0), opening=1.0, **options):
        quaternion = (Rotation.from_rotvec(turn) * Rotation.from_quat((1, 0, 0, 0))).as_quat()
        tool = ArmPose(position=position, quaternion=quaternion, gripper=opening)
        return expert.plan([tool], scene, BLOCK, **options)[0]

    return call


def test_a_plan_ends_above_the_block_and_keeps_its_speed_limit(plan, embodiment):
    steps = plan((0.2, -0.1, 0.2), count=60)
    assert steps.positions.shape == (60, 3)
    assert steps.quaternions.shape == (60, 4)
    np.testing.assert_allclose(steps.positions[-1], HOVER, atol=1e-3)
    strides = np.linalg.norm(np.diff(steps.positions, axis=0), axis=1)
    assert strides.max() <= embodiment.sim.expert_speed_m_s * 0.1 + 1e-9
    assert (steps.openings == 1.0).all()


def test_a_low_tool_rises_before_it_crosses_the_table(plan):
    steps = plan((0.22, -0.12, 0.03))
    crossing = np.linalg.norm(steps.positions[:, :2] - (0.22, -0.12), axis=1) > 0.005
    assert steps.positions[crossing][0, 2] > 0.07


def test_a_turned_tool_turns_back_at_a_bounded_rate(plan):
    steps = plan((0.2, 0.0, 0.2), turn=(0.3, -0.2, 0.5), count=20)
    rotations = Rotation.from_quat(steps.quaternions)
    assert (rotations[:-1].inv() * rotations[1:]).magnitude().max() <= 0.1 + 1e-6
    np.testing.assert_allclose(np.abs(steps.quaternions[-1]), (1, 0, 0, 0), atol=1e-3)


def test_planning_again_from_a_planned_step_gives_the_rest_of_the_plan(plan):
    whole = plan((0.2, -0.1, 0.2), count=30)
    rest = plan(whole.positions[9], count=20)
    np.testing.assert_allclose(rest.positions, whole.positions[10:], atol=1e-9)


def test_lifting_goes_down_closes_and_rises(plan):
    steps = plan(HOVER, count=40, lift=True)
    closed = int(np.argmax(steps.openings == 0.0))
    assert 0 < closed < 39
    assert steps.positions[closed, 2] == pytest.approx(BLOCK[2], abs=0.013)
    assert steps.positions[-1, 2] > 0.14
    assert (steps.openings[closed:] == 0.0).all()
