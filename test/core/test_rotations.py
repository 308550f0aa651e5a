# SPDX-License-Identifier: Apache-2.0
"""Laws of Rotate6D and of EE6D."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.ee6d import ArmPose, pack, unpack
from xvla_ros.core.rotations import (
    matrix_to_rotate6d,
    rotate6d_residual,
    rotate6d_to_matrix,
    ROTATION_LAYOUTS,
)

layouts = st.sampled_from(ROTATION_LAYOUTS)
numbers = st.floats(-1e3, 1e3)
quaternions = (
    st.tuples(*[st.floats(-1, 1)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 1e-2)
)


@given(quaternions, layouts)
def test_a_rotation_survives_both_layouts(quaternion, layout):
    matrix = Rotation.from_quat(quaternion).as_matrix()
    back = rotate6d_to_matrix(matrix_to_rotate6d(matrix, layout), layout)
    np.testing.assert_allclose(back, matrix, atol=1e-12)


@given(st.lists(st.floats(-10, 10), min_size=6, max_size=6), layouts)
def test_whatever_defines_a_rotation_gives_an_orthonormal_right_handed_matrix(values, layout):
    try:
        matrix = rotate6d_to_matrix(np.array(values), layout)
    except ValueError:
        return
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) > 0


def test_the_two_layouts_are_those_of_the_sources():
    """datasets/utils.py flattens R[:, :2] by rows; libero_client.py stacks its two columns."""
    matrix = Rotation.from_euler('xyz', [0.3, -0.7, 1.9]).as_matrix()
    expected = matrix[:, :2].reshape(6)
    np.testing.assert_array_equal(matrix_to_rotate6d(matrix, 'interleaved'), expected)
    stacked = np.concatenate([matrix[:, 0], matrix[:, 1]])
    np.testing.assert_array_equal(matrix_to_rotate6d(matrix, 'contiguous'), stacked)
    np.testing.assert_array_equal(matrix_to_rotate6d(np.eye(3), 'interleaved'), [1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(matrix_to_rotate6d(np.eye(3), 'contiguous'), [1, 0, 0, 0, 1, 0])


def test_the_residual_tells_the_right_layout_from_the_wrong_one():
    matrices = Rotation.random(2000, random_state=0).as_matrix()
    for right, wrong in (ROTATION_LAYOUTS, ROTATION_LAYOUTS[::-1]):
        values = matrix_to_rotate6d(matrices, right)
        assert rotate6d_residual(values, right).max() < 1e-12
        residuals = rotate6d_residual(values, wrong)
        assert residuals.mean() == pytest.approx(0.87, abs=0.05)
        assert np.quantile(residuals, 0.01) > 0.05


@pytest.mark.parametrize('values', [[0] * 6, [1, 1, 0, 0, 0, 0], [np.nan] * 6])
def test_values_that_define_no_rotation_are_refused(values):
    with pytest.raises(ValueError, match='no rotation'):
        rotate6d_to_matrix(np.array(values, dtype=float), 'interleaved')


@given(
    st.lists(st.tuples(st.tuples(*[numbers] * 3), quaternions, st.floats(0, 1)), min_size=1,
             max_size=2),
    layouts,
)  # fmt: skip
def test_arms_survive_a_vector(values, layout):
    arms = [ArmPose(position=p, quaternion=q / np.linalg.norm(q), gripper=g) for p, q, g in values]
    vector = pack(arms, layout)
    back = unpack(vector, layout, len(arms))
    for arm, again in zip(arms, back, strict=True):
        np.testing.assert_array_equal(again.position, arm.position)
        np.testing.assert_allclose(again.matrix(), arm.matrix(), atol=1e-9)
        assert again.gripper == arm.gripper
    if len(arms) == 1:
        assert not vector[10:].any()
        assert len(unpack(vector, layout)) == 1


@pytest.mark.parametrize(
    'wrong',
    [
        {'position': [0, 0, np.nan]},
        {'position': [0, 0]},
        {'quaternion': [0, 0, 0, 2]},
        {'quaternion': [np.nan, 0, 0, 1]},
    ],
)
def test_a_pose_that_is_none_cannot_be_made(wrong):
    good = {'position': [0, 0, 0], 'quaternion': [0, 0, 0, 1], 'gripper': 0.0}
    with pytest.raises(ValueError, match='must be'):
        ArmPose(**{**good, **wrong})


def test_a_pose_keeps_its_own_copies():
    position = np.zeros(3)
    arm = ArmPose(position=position, quaternion=[0, 0, 0, 1], gripper=0.0)
    position[0] = 1.0
    assert arm.position[0] == 0
    with pytest.raises(ValueError, match='read-only'):
        arm.position[0] = 1.0
