# SPDX-License-Identifier: Apache-2.0
"""Source files: what they say is taken literally, and what is wrong in one is named."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from stored_data import motion, numbers

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.data.columns import Column
from xvla_ros.data.poses import arm_motion
from xvla_ros.data.source import ArmKeys, load_source, METRES, PoseKeys, RADIANS, ROTATIONS, Source

SHIPPED = sorted(file.stem for file in shared_file('config', 'sources').glob('*.yaml'))
ARM = 'arms: {arm: {state: {position: p, rotation: r}}}\n'


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_files_are_valid(name):
    assert load_source(name).arms


@pytest.mark.filterwarnings('ignore:Gimbal lock')
@given(
    kind=st.sampled_from(sorted(ROTATIONS)),
    unit=st.sampled_from(sorted(METRES)),
    angle=st.sampled_from(sorted(RADIANS)),
    ends=st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.07, 0.0), (-1.0, 1.0)]),
    seed=st.integers(0, 1000),
)
def test_every_unit_and_format_comes_back(kind, unit, angle, ends, seed):
    keys = PoseKeys(position='p', unit=unit, rotation='r', rotation_format=kind, angle_unit=angle,
                    gripper='g', gripper_open=ends[0], gripper_closed=ends[1])  # fmt: skip
    moved = motion(1, seed)
    source = Source(format='hdf5', arms={'arm': ArmKeys(state=keys)})
    table = {Column.parse(text).key: values for text, values in numbers(source, moved)}
    found = arm_motion(keys, table.__getitem__, None)
    assert np.abs(found.positions - moved.positions[:, 0]).max() < 1e-9
    dots = np.abs(np.sum(found.quaternions * moved.quaternions[:, 0], axis=1))
    assert np.abs(dots - 1).max() < 1e-9
    assert np.abs(found.openings - moved.openings[:, 0]).max() < 1e-9


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('format: rosbag\n', "'format' must be one of .*did you mean 'rosbag2'"),
        ('format: hdf5\n', 'arms: expected one or two blocks'),
        (f'format: rosbag2\n{ARM}', 'are what the embodiment says'),
        (f'format: scattered\n{ARM}', 'table: expected'),
        (f'format: hdf5\nframerate: 3\n{ARM}', "unknown key 'framerate'"),
        ('format: hdf5\narms: {arm: {state: {position: p}}}\n', 'belong together'),
        ('format: hdf5\narms: {arm: {state: {gripper: g}}}\n', 'expected position and rotation'),
        (
            'format: hdf5\narms: {arm: {state: {position: p, rotation: r, unit: cm}}}\n',
            "'arms.arm.state.unit' must be one of",
        ),
        (f'base: nobody\n{ARM}', "unknown description of data 'nobody'"),
        ('[]', 'expected a source file'),
        ('{', 'cannot read the source file'),
    ],
)
def test_what_is_wrong_is_named(text, words, tmp_path):
    (tmp_path / 'source.yaml').write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_source(tmp_path / 'source.yaml')


def test_a_file_changes_keys_of_its_base(tmp_path):
    (tmp_path / 'mine.yaml').write_text(
        'base: robomimic\npaths: [a.hdf5]\ncameras: {main: {key: obs/front}}\n'
    )
    mine, base = load_source(tmp_path / 'mine.yaml'), load_source('robomimic')
    assert mine.cameras['main'].key == 'obs/front'
    assert (mine.cameras['wrist'], mine.arms) == (base.cameras['wrist'], base.arms)
    assert mine.paths == (str(tmp_path / 'a.hdf5'),)


def test_grippers_by_a_threshold():
    keys = PoseKeys(position='p', rotation='r', gripper='g[-1]', gripper_open=-1.0,
                    gripper_closed=1.0, gripper_threshold=0.0)  # fmt: skip
    table = {'p': np.zeros((3, 3)), 'r': np.tile([0, 0, 0, 1.0], (3, 1)),
             'g': np.array([[9, -0.2], [9, 0.1], [9, 5.0]])}  # fmt: skip
    assert arm_motion(keys, table.__getitem__, None).openings.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize('text', ['', '[0]', 'a[b]', 'a[0:3', 'a]'])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(ConfigError, match='expected key'):
        Column.parse(text)


def test_a_reference_beyond_the_data_says_what_is_there():
    with pytest.raises(ValueError, match=r"'a\[5\]': a is \(4, 2\)"):
        Column.parse('a[5]').of({'a': np.zeros((4, 2))}.__getitem__, 1)
    with pytest.raises(ValueError, match=r"'a' has 2 numbers a frame, expected 3"):
        Column.parse('a').of({'a': np.zeros((4, 2))}.__getitem__, 3)
