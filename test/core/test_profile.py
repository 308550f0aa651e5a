# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: what each published client of X-VLA tells the model and does with its answer."""

from dataclasses import replace
from pathlib import Path

from counts import FEW
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.core.ee6d import ArmPose, unpack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.gripper import GripperFilter
from xvla_ros.core.parameter_file import read_parameter_file
from xvla_ros.core.profile import ActionProfile
from xvla_ros.core.rotations import rotate6d_residual

CONFIG = Path(__file__).parents[2] / 'config'
REFERENCE = sorted((CONFIG / 'reference').glob('*.yaml'))
DUAL = ('agibot_g1', 'robotwin', 'softfold_agilex')
seeds = st.integers(0, 2**32 - 1)


def client(name):
    """Return an embodiment with a published client's parameters merged over ours."""
    base = 'agilex_sim' if name in DUAL else 'franka_sim'
    overrides = read_parameter_file(CONFIG / 'reference' / f'{name}.yaml')
    return load_embodiment(CONFIG / f'{base}.yaml', overrides)


def arm(x, y, z, euler=(0.0, 0.0, 0.0), gripper=1.0):
    """Return a pose from Euler angles as all clients use them: scipy's extrinsic 'xyz'."""
    quaternion = Rotation.from_euler('xyz', euler).as_quat()
    return ArmPose(position=[x, y, z], quaternion=quaternion, gripper=gripper)


def interleaved(euler):
    """Return Rotate6D as datasets/utils.py writes it."""
    return Rotation.from_euler('xyz', euler).as_matrix()[:, :2].reshape(6)


def row(*halves):
    """Return one raw action of [xyz, Rotate6D, gripper] halves, the rest zero."""
    action = np.zeros(20)
    for index, half in enumerate(halves):
        action[10 * index : 10 * (index + 1)] = np.concatenate([np.ravel(part) for part in half])
    return action


def answer(*rows, count=30):
    """Return a model output of 30 anchors, the last row repeated."""
    return np.stack([*rows, *[rows[-1]] * (count - len(rows))]).astype(np.float32)


@pytest.mark.parametrize('path', REFERENCE, ids=lambda path: path.stem)
def test_every_published_client_is_a_valid_embodiment(path):
    embodiment = client(path.stem)
    profile = ActionProfile(embodiment)
    arms = [arm(0.4, 0.1, 0.2, (0.1, 0.2, 0.3))] * len(embodiment.arms)
    assert profile.proprio(arms).dtype == np.float32
    assert len(REFERENCE) == 8


def test_bridge_starts_at_the_identity_and_feeds_back_what_was_executed():
    profile = ActionProfile(client('bridge_widowx'))
    start = profile.proprio([arm(0.3, 0.1, 0.2, (0.4, 1.5, 0.6))])
    np.testing.assert_allclose(start[3:10], [1, 0, 0, 1, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(start[:3], [0.3, 0.1, 0.2], atol=1e-7)
    assert not start[10:].any()
    raw = answer(row([(0.31, 0.1, 0.19), interleaved((0.2, -0.1, 0.4)), [0.0]]))
    executed = unpack(profile.chunk(raw, 0).actions[0], 'interleaved', 1)
    told = profile.proprio([arm(0.3, 0.1, 0.2)], commanded=executed)
    np.testing.assert_allclose(told, raw[0], atol=1e-6)


def test_bridge_turns_by_ry_90_as_the_client_does_at_roll_0():
    """The client adds (0, pi/2, 0) to the Euler angles; the matrix form is Bridge's own."""
    profile = ActionProfile(client('bridge_widowx'))
    for pitch, yaw in ((0.0, 0.0), (-0.4, 1.2), (-1.0, -2.0)):
        raw = answer(row([(0.3, 0.0, 0.1), interleaved((0.0, pitch, yaw)), [0.9]]))
        (tool,) = unpack(profile.chunk(raw, 0).actions[0], 'interleaved', 1)
        expected = Rotation.from_euler('xyz', (0.0, pitch + np.pi / 2, yaw))
        np.testing.assert_allclose(tool.matrix(), expected.as_matrix(), atol=1e-6)
    raw = answer(row([(0.3, 0.0, 0.1), interleaved((0.6, 0.0, 0.0)), [0.9]]))
    (tool,) = unpack(profile.chunk(raw, 0).actions[0], 'interleaved', 1)
    added = Rotation.from_euler('xyz', (0.6, np.pi / 2, 0.0))
    apart = (Rotation.from_matrix(tool.matrix()) * added.inv()).magnitude()
    assert np.degrees(apart) == pytest.approx(48.3, abs=0.2)


def test_a_rotation_that_is_not_quite_one_turns_as_the_client_makes_it_one():
    """The client orthonormalises what the model said and then turns it; flaws stay as they are."""
    rng = np.random.default_rng(4)
    raw = answer(row([(0.3, 0.0, 0.1), interleaved((0.0, -0.4, 1.2)), [0.9]]))
    raw[:, 3:9] += 0.05 * rng.normal(size=(30, 6))
    chunk = ActionProfile(client('bridge_widowx')).chunk(raw, 0)
    for said, moved in zip(raw, chunk.actions, strict=True):
        first, second = said[3:9:2], said[4:9:2]
        b1 = first / np.linalg.norm(first)
        b2 = second - (b1 @ second) * b1
        b2 /= np.linalg.norm(b2)
        meant = Rotation.from_matrix(np.stack([b1, b2, np.cross(b1, b2)], axis=-1))
        (tool,) = unpack(moved, 'interleaved', 1)
        expected = meant * Rotation.from_euler('y', np.pi / 2)
        np.testing.assert_allclose(tool.matrix(), expected.as_matrix(), atol=1e-6)
        assert rotate6d_residual(moved[3:9], 'interleaved') == pytest.approx(
            rotate6d_residual(said[3:9], 'interleaved'), abs=1e-6
        )


def test_what_a_chunk_ended_with_is_told_as_the_model_said_it():
    raw = answer(row([(0.1, 0.2, 0.9), (0.9, 0.1, 0.0, -0.2, 1.1, 0.0), [1.0]]))
    profile = ActionProfile(client('libero'))
    told = profile.proprio([arm(0, 0, 0)], previous=profile.chunk(raw, 0))
    np.testing.assert_allclose(told[:9], raw[-1, :9], atol=1e-6)


@pytest.mark.parametrize('path', REFERENCE, ids=lambda path: path.stem)
def test_each_client_asks_for_its_own_number_of_steps(path):
    """Whatever the file beneath says: the simulated robots ask their small model for four."""
    steps = 5 if path.stem == 'agibot_g1' else 10
    assert client(path.stem).policy.denoising_steps == steps


def test_google_is_told_nothing_and_moves_relative_to_what_was_commanded():
    profile = ActionProfile(client('google_robot'))
    assert not profile.proprio([arm(0.4, 0.1, 0.2)]).any()
    rows = [row([(0.01 * i, 0.0, -0.01 * i), interleaved((0, 0, 0.1)), [0.3]]) for i in range(30)]
    with pytest.raises(ValueError, match='reference'):
        profile.chunk(np.stack(rows), 0)
    chunk = profile.chunk(np.stack(rows), 0, reference=[arm(0.5, 0.2, 0.4)])
    expected = np.stack(rows)[::2][:10, :3] + [0.5, 0.2, 0.4]
    np.testing.assert_allclose(chunk.actions[:, :3], expected, atol=1e-12)
    np.testing.assert_allclose(chunk.actions[:, 3:9], np.stack(rows)[::2][:10, 3:9], atol=1e-12)
    assert chunk.due_ns(0) == pytest.approx(333_330_000)
    with pytest.raises(ValueError, match='relative'):
        profile.raw(chunk)


def test_libero_stacks_columns_and_is_told_the_end_of_its_chunk_without_gripper():
    embodiment = client('libero')
    profile = ActionProfile(embodiment)
    matrix = Rotation.from_euler('xyz', (3.0, 0.2, -0.3)).as_matrix()
    start = profile.proprio([arm(-0.2, 0.0, 1.1, (3.0, 0.2, -0.3), gripper=0.0)])
    expected = np.concatenate([[-0.2, 0.0, 1.1], matrix[:, 0], matrix[:, 1], [0.0]])
    np.testing.assert_allclose(start[:10], expected, atol=1e-6)
    last = row([(0.1, 0.2, 0.9), np.concatenate([matrix[:, 0], matrix[:, 1]]), [1.0]])
    chunk = profile.chunk(answer(np.zeros(20) + last, last), 0)
    told = profile.proprio([arm(0, 0, 0)], previous=chunk)
    np.testing.assert_allclose(told[:9], last[:9], atol=1e-6)
    assert told[9] == 0.0
    assert embodiment.cameras['main'].rotate_180
    assert not embodiment.cameras['wrist'].rotate_180


def test_calvin_executes_twenty_and_is_told_its_gripper():
    profile = ActionProfile(client('calvin'))
    closed = profile.proprio([arm(0.1, 0.0, 0.5, gripper=0.0)])
    assert closed[9] == 1.0
    raw = answer(row([(0.1, 0.0, 0.5), interleaved((3.1, 0.0, 0.2)), [0.7]]))
    chunk = profile.chunk(raw, 0)
    assert len(chunk.actions) == 20
    executed = unpack(chunk.actions[7], 'interleaved', 1)
    told = profile.proprio([arm(0, 0, 0)], commanded=executed)
    np.testing.assert_allclose(told, raw[7], atol=1e-6)


@pytest.mark.parametrize('name', ['robotwin', 'softfold_agilex'])
def test_two_arms_keep_their_halves(name):
    profile = ActionProfile(client(name))
    left, right = arm(0.2, 0.1, 0.3, (0.1, 0.9, 0)), arm(0.3, -0.1, 0.2, (0, 0.8, 0.2), 0.0)
    told = profile.proprio([left, right])
    expected = row(
        [left.position, interleaved((0.1, 0.9, 0)), [0.0]],
        [right.position, interleaved((0, 0.8, 0.2)), [1.0]],
    )
    np.testing.assert_allclose(told, expected, atol=1e-6)
    raw = answer(expected)
    np.testing.assert_allclose(profile.chunk(raw, 0).actions, raw, atol=1e-6)


def test_softfold_is_told_the_sensor_once_and_then_the_end_of_its_chunk():
    embodiment = client('softfold_agilex')
    profile = ActionProfile(embodiment)
    rows = [
        row([(0.2 + 0.001 * i, 0, 0.3), interleaved((0, 0.9, 0)), [0.1]],
            [(0.3, 0.001 * i, 0.2), interleaved((0, 0.9, 0)), [0.9]])
        for i in range(30)
    ]  # fmt: skip
    chunk = profile.chunk(np.stack(rows), 0)
    assert chunk.end_ns == pytest.approx(2_000_000_000, rel=1e-3)
    told = profile.proprio([arm(0, 0, 0), arm(0, 0, 0)], previous=chunk)
    np.testing.assert_allclose(told, rows[-1], atol=1e-6)


def test_vlabench_moves_between_the_world_and_the_robots_base():
    profile = ActionProfile(client('vlabench'))
    told = profile.proprio([arm(0.1, -0.1, 1.0, (3.0, 0.1, 0.2), gripper=0.0)])
    np.testing.assert_allclose(told[:3], np.array([0.1, -0.1, 1.0]) - [0, -0.4, 0.78], atol=1e-6)
    np.testing.assert_allclose(told[3:9], interleaved((3.0, 0.1, 0.2)), atol=1e-6)
    raw = answer(row([(0.1, 0.3, 0.2), interleaved((3.0, 0.1, 0.2)), [0.2]]))
    expected = np.add([0.1, 0.3, 0.2], [0, -0.4, 0.78])
    np.testing.assert_allclose(profile.chunk(raw, 0).actions[0, :3], expected, atol=1e-6)


def test_agibot_adds_positions_to_the_tool_and_turns_absolutely():
    profile = ActionProfile(client('agibot_g1'))
    assert not profile.proprio([arm(0.4, 0.2, 0.3), arm(0.4, -0.2, 0.3)]).any()
    half = [(0.01, 0.02, 0.03), interleaved((0.3, 0.2, 0.1)), [0.6]]
    raw = answer(row(half, half), count=60)
    chunk = profile.chunk(raw, 0, reference=[arm(0.4, 0.2, 0.3), arm(0.4, -0.2, 0.3)])
    assert len(chunk.actions) == 30
    np.testing.assert_allclose(chunk.actions[5, :3], [0.41, 0.22, 0.33], atol=1e-6)
    np.testing.assert_allclose(chunk.actions[5, 10:13], [0.41, -0.18, 0.33], atol=1e-6)
    np.testing.assert_allclose(chunk.actions[5, 3:9], interleaved((0.3, 0.2, 0.1)), atol=1e-6)


@pytest.mark.parametrize(
    ('name', 'threshold'),
    [('bridge_widowx', 0.91), ('google_robot', 0.25), ('libero', 0.5), ('calvin', 0.8),
     ('robotwin', 0.7), ('vlabench', 0.5), ('softfold_agilex', 0.5), ('agibot_g1', 0.5)],
)  # fmt: skip
def test_grippers_close_where_the_client_closes_them(name, threshold):
    for arm_settings in client(name).arms.values():
        gripper = GripperFilter(arm_settings.gripper)
        probabilities = (threshold - 0.01, threshold + 0.01, threshold - 0.01)
        assert [gripper.update(p, i) for i, p in enumerate(probabilities)] == [1.0, 0.0, 1.0]


@FEW
@given(seeds)
def test_offsets_undo_each_other(franka, seed):
    """Whatever the frames: raw -> chunk -> raw, and pose -> proprio -> pose."""
    rng = np.random.default_rng(seed)
    embodiment = offset_embodiment(franka, rng)
    profile = ActionProfile(embodiment)
    raw = np.zeros((4, 20))
    raw[:, :3] = rng.normal(size=(4, 3))
    raw[:, 3:9] = Rotation.from_quat(rng.normal(size=(4, 4))).as_matrix()[:, :, :2].reshape(4, 6)
    raw[:, 9] = rng.random(4)
    chunk = profile.chunk(raw, 0)
    np.testing.assert_allclose(profile.raw(chunk), raw, atol=1e-5)
    (tool,) = unpack(chunk.actions[0], 'interleaved', 1)
    told = profile.proprio([tool])
    np.testing.assert_allclose(told[:9], raw[0, :9], atol=1e-5)


def offset_embodiment(franka, rng):
    """Return the Franka with random frame offsets."""
    offsets = {}
    for name in ('base_from_policy', 'policy_from_tool'):
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        matrix[:3, 3] = rng.normal(size=3)
        offsets[name] = tuple(matrix.ravel().tolist())
    return replace(franka, arms={'arm': replace(franka.arms['arm'], **offsets)})


def test_what_is_wrong_with_an_answer_reaches_the_gate(franka):
    profile = ActionProfile(franka)
    raw = answer(row([(0.5, 0, 0.3), interleaved((3.1, 0, 0)), [0.1]]))
    raw[3, 5], raw[4, 3:9], raw[5, 15] = np.nan, 0.0, np.nan
    chunk = profile.chunk(raw, 7, sequence=3)
    assert np.isnan(chunk.actions[3, 3:9]).any()
    assert not chunk.actions[4, 3:9].any()
    assert not chunk.actions[:, 10:].any(), 'one arm: the other half is zero, whatever it held'
    assert (chunk.stamp_ns, chunk.sequence) == (7, 3)


@pytest.mark.parametrize('raw', [np.zeros((30, 14)), np.zeros(20), np.zeros((0, 20))])
def test_an_answer_of_another_shape_is_refused(franka, raw):
    with pytest.raises(ValueError, match=r'must be \(T, 20\)'):
        ActionProfile(franka).chunk(raw, 0)
