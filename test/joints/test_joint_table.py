# SPDX-License-Identifier: Apache-2.0
"""The joints table: read strictly, one affine map per joint, with an exact inverse."""

from hypothesis import given
from hypothesis import strategies as st
from joint_robots import joint_robot, ROBOTS
import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.core.joint_settings import JointSettings
from xvla_ros.core.resources import shared_file

SO101 = shared_file('config', 'so101_sim.yaml')
JOINT = {'ros_name': 'a', 'model_index': 0, 'max_speed_rad_s': 1.0, 'max_acceleration_rad_s2': 1.0}


def load(**changes):
    return load_embodiment(SO101, {k.replace('__', '.'): v for k, v in changes.items()})


@pytest.mark.parametrize('name', ROBOTS)
@given(seed=st.integers(0, 2**32))
def test_numbers_of_the_model_come_back_as_they_were(name, seed):
    robot, rng = joint_robot(name), np.random.default_rng(seed)
    profile = JointProfile(robot.embodiment)
    bounds = robot.model.bounds
    q = rng.uniform(bounds.lower, bounds.upper, (5, len(bounds.names)))
    chunk = robot.chunk(q, opening=rng.uniform(0, 1))
    back = profile.chunk(profile.raw(chunk), 0)
    known = ~np.isnan(back.actions)
    np.testing.assert_allclose(back.actions[known], chunk.actions[known], atol=1e-6)
    told = profile.proprio(robot.arms(q[0], chunk.actions[0, robot.counts[0]]))
    np.testing.assert_allclose(told, profile.raw(chunk)[0], atol=1e-4)


@given(scale=st.floats(-200, 200), offset=st.floats(-500, 500), q=st.floats(-4, 4))
def test_every_affine_map_has_its_inverse(scale, offset, q):
    if abs(scale) < 1e-2:
        return
    arm = load(**{
        'arms.arm.joints.elbow_flex.unit': '',
        'arms.arm.joints.elbow_flex.scale': scale,
        'arms.arm.joints.elbow_flex.offset': offset,
    }).arms['arm']  # fmt: skip
    joints = arm.joint_map()
    told = joints.to_model(np.full(6, q))
    assert told[2] == scale * q + offset
    assert joints.to_robot(told)[2] == pytest.approx(q, abs=1e-12 * max(1, abs(offset / scale)))


def test_the_unit_gives_the_scale():
    assert JointSettings(**JOINT, unit='deg').scale == pytest.approx(57.29577951308232)
    assert JointSettings(**JOINT, unit='rad').scale == 1.0
    assert JointSettings(**JOINT, scale=-2.0).scale == -2.0
    for wrong in ({}, {'unit': 'deg', 'scale': 2.0}, {'unit': 'rad', 'lower_rad': 1.0}):
        with pytest.raises(ValueError, match=r'scale|lower_rad'):
            JointSettings(**JOINT, **wrong)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'policy.action_mode': 'ee6d'}, "'arms.arm' has a joints table"),
        ({'arms.arm.joints.elbow_flex.ros_name': 'elbow'}, 'expected one entry each of'),
        ({'arms.arm.joints.elbow_flex.model_index': 5}, 'expected each of 0 to 5 once'),
        ({'arms.arm.pose_source': 'tf'}, "needs pose_source 'joints'"),
        ({'arms.arm.gripper.model_open': 0.0}, 'model_open and model_closed are equal'),
        ({'scene.table.min_m': [0.0, 0.0, 1.0]}, 'must be below max_m'),
    ],
)
def test_a_table_that_does_not_fit_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        load_embodiment(SO101, changes)


def test_an_arm_without_a_table_in_joint_space_is_refused():
    with pytest.raises(ConfigError, match=r"'arms\.arm' lacks a joints table"):
        load_embodiment(shared_file('config', 'franka_sim.yaml'), {'policy.action_mode': 'auto'})
