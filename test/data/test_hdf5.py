# SPDX-License-Identifier: Apache-2.0
"""Every shipped description of HDF5 files reads back the motion that such files hold."""

from dataclasses import replace
import json

import cv2
import h5py
import numpy as np
import pytest
from stored_data import (
    columns,
    FRAMES,
    image_of,
    INSTRUCTION,
    motion,
    write_group,
    write_images,
)

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.data.context import Context
from xvla_ros.data.opening import load_episodes, open_source
from xvla_ros.data.source import CameraKeys, HDF5, load_source
from xvla_ros.tools.cli import main

SHIPPED = sorted(file.stem for file in shared_file('config', 'sources').glob('*.yaml'))
DESCRIBED = [name for name in SHIPPED if load_source(name).format == HDF5]
POSES = [
    name for name in DESCRIBED if not next(iter(load_source(name).arms.values())).state.joints
]
PAIR = load_embodiment(shared_file('config', 'agilex.yaml'))


def same_motion(episode, moved):
    assert np.abs(episode.positions - moved.positions).max() < 1e-9
    turned = np.abs(np.sum(episode.quaternions * moved.quaternions, axis=-1))
    assert np.abs(turned - 1).max() < 1e-9
    assert np.abs(episode.openings - moved.openings).max() < 1e-9


def same_images(episode):
    for frame in (0, 5, len(episode) - 1):
        for number, seen in enumerate(episode.look(frame)):
            assert np.array_equal(seen, image_of(frame, number))


def with_camera(source):
    """Return a source with a camera; those of X-VLA's domains come from meta files."""
    return (
        source if source.cameras else replace(source, cameras={'main': CameraKeys(key='i/main')})
    )


def write(path, source, moved, joints=None, packed=False):
    parent, _, _ = source.episodes.rpartition('/')
    with h5py.File(path, 'w') as file:
        group = file.create_group(f'{parent}/demo_0') if parent else file
        write_group(group, source, moved, joints, packed)


def read(path, source, context=None):
    return load_episodes(replace(source, paths=(str(path),)), context or Context())


@pytest.mark.parametrize('name', POSES)
@pytest.mark.parametrize('packed', [False, True])
def test_a_shipped_description_reads_its_files(name, packed, tmp_path):
    source = with_camera(load_source(name))
    moved = motion(len(source.arms))
    write(tmp_path / 'e.hdf5', source, moved, packed=packed)
    (episode,) = read(tmp_path / 'e.hdf5', source)
    same_motion(episode, moved)
    same_images(episode)
    assert episode.instruction == (INSTRUCTION if source.instruction_key else '')
    assert episode.starts == (
        None if not (source.skip_frames or source.margin_frames)
        else (source.skip_frames, max(source.skip_frames, FRAMES - source.margin_frames))
    )  # fmt: skip


def test_joints_become_poses_by_the_urdf_of_the_robot(tmp_path):
    source = replace(load_source('aloha'), instruction=INSTRUCTION)
    home = np.array([arm.home_rad for arm in PAIR.arms.values()])
    joints = home + 0.2 * np.sin(np.arange(FRAMES) / 5)[:, None, None]
    write(tmp_path / 'e.hdf5', source, motion(2), joints=joints, packed=True)
    (episode,) = read(tmp_path / 'e.hdf5', source, Context(embodiment=PAIR))
    same_images(episode)
    for index, arm in enumerate(PAIR.arms.values()):
        position, quaternion = arm_kinematics(arm).forward(joints[7, index])
        assert np.abs(episode.positions[7, index] - position).max() < 1e-9
        assert abs(abs(episode.quaternions[7, index] @ quaternion) - 1) < 1e-9
    assert np.abs(episode.joints - joints.reshape(FRAMES, 12)).max() < 1e-12
    assert episode.joint_names[0] == 'left.joint1'
    assert episode.commanded is not None
    with pytest.raises(ConfigError, match='give --embodiment'):
        read(tmp_path / 'e.hdf5', source)


def test_padded_images_are_cut(tmp_path):
    source = with_camera(load_source('xvla_bridge'))
    write(tmp_path / 'e.hdf5', source, motion(1))
    with h5py.File(tmp_path / 'e.hdf5', 'a') as file:
        del file['i/main']
        files = [cv2.imencode('.png', image_of(f, 0)[..., ::-1])[1] for f in range(FRAMES)]
        longest = max(map(len, files))
        file['i/main'] = np.stack([np.pad(f, (0, longest - len(f))) for f in files])
        file['compress_len'] = np.array([[len(f) for f in files]])
    same_images(*read(tmp_path / 'e.hdf5', source))


def test_flat_pixels_need_their_sides(tmp_path):
    source = with_camera(load_source('xvla_bridge'))
    write(tmp_path / 'e.hdf5', source, motion(1))
    with h5py.File(tmp_path / 'e.hdf5', 'a') as file:
        pixels = np.asarray(file['i/main'])[..., ::-1].reshape(FRAMES, -1)
        del file['i/main']
        file['i/main'] = pixels
    with pytest.raises(ConfigError, match=r'episode e, frame 0: camera main: \d+ bytes'):
        read(tmp_path / 'e.hdf5', source)[0].look(0)
    keys = CameraKeys(key='i/main', colours='bgr', height=24, width=32)
    same_images(*read(tmp_path / 'e.hdf5', replace(source, cameras={'main': keys})))


def test_a_meta_file_lists_episodes_cameras_and_words(tmp_path):
    source = replace(load_source('xvla_airbot'), instruction_key='words')
    cameras = {'a': CameraKeys(key='i/a'), 'b': CameraKeys(key='i/b')}
    moved = [motion(1, seed) for seed in range(3)]
    for number, each in enumerate(moved):
        write(tmp_path / f'{number}.hdf5', replace(source, cameras=cameras), each)
    (tmp_path / 'meta.json').write_text(json.dumps({
        'dataset_name': 'AIRBOT', 'datalist': ['0.hdf5', ['1.hdf5'], '2.hdf5'],
        'observation_key': ['i/a', 'i/b'], 'language_instruction_key': 'words',
    }))  # fmt: skip
    episodes = load_episodes(open_source(tmp_path / 'meta.json', 'xvla_airbot'), Context())
    for episode, each in zip(episodes, moved, strict=True):
        same_motion(episode, each)
        same_images(episode)
        assert (episode.instruction, episode.cameras) == (INSTRUCTION, ('a', 'b'))


def test_each_arm_is_brought_to_the_times_of_the_first(tmp_path):
    source = with_camera(load_source('xvla_agilex_hq'))
    moved = motion(2)
    made = columns(source, moved)
    made['observations/eef_right_time'] += 0.010
    with h5py.File(tmp_path / 'e.hdf5', 'w') as file:
        for key, rows in made.items():
            file[key] = rows
        write_images(file, source.cameras, FRAMES)
    (episode,) = read(tmp_path / 'e.hdf5', source)
    step = np.diff(moved.positions[:, 1], axis=0)[0] * 30 * 0.010
    assert np.abs(episode.positions[:, 0] - moved.positions[:, 0]).max() < 1e-9
    assert np.abs(episode.positions[5, 1] - (moved.positions[5, 1] - step)).max() < 1e-9


def test_folders_of_images_are_read(tmp_path):
    source = replace(load_source('agiworld'), instruction=INSTRUCTION, paths=(str(tmp_path),))
    moved = motion(2)
    folder = tmp_path / 'task' / '648'
    folder.mkdir(parents=True)
    with h5py.File(folder / 'aligned_joints.h5', 'w') as file:
        file['state/end/position'] = moved.positions
        file['state/end/orientation'] = moved.quaternions
        file['action/effector/position'] = 1 - moved.openings
    for frame in range(FRAMES):
        for number, keys in enumerate(source.cameras.values()):
            path = folder / keys.key.replace('{frame}', str(frame))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode('.png', image_of(frame, number)[..., ::-1])[1].tobytes())
    (episode,) = load_episodes(source, Context())
    same_motion(episode, moved)
    same_images(episode)
    (folder / 'camera/7/hand_left_color.jpg').unlink()
    with pytest.raises(ConfigError, match=r'left_color.jpg, episode 648, frame 7: .*no such'):
        load_episodes(source, Context())


def test_lost_images_and_groups_are_named(tmp_path):
    source = with_camera(load_source('xvla_bridge'))
    write(tmp_path / 'e.hdf5', source, motion(1))
    with h5py.File(tmp_path / 'e.hdf5', 'a') as file:
        del file['i/main']
        write_images(file, source.cameras, FRAMES - 2)
    with pytest.raises(ConfigError, match=r'episode e, frame 10: camera main: has 10 images'):
        read(tmp_path / 'e.hdf5', source)
    with pytest.raises(ConfigError, match=r"has no group 'data/\*'"):
        read(tmp_path / 'e.hdf5', replace(source, episodes='data/*'))
    (tmp_path / 'broken.hdf5').write_bytes(b'no file of this kind')
    with pytest.raises(ConfigError, match=r'broken.hdf5: cannot be read'):
        read(tmp_path / 'broken.hdf5', source)


@pytest.mark.parametrize('images', ['av1', 'png'])
def test_a_bag_becomes_what_the_authors_read(bag, tmp_path, images):
    out = tmp_path / 'out'
    command = ['convert-data', str(bag), '--to', 'xvla-hdf5', '--out', str(out)]
    assert main([*command, '--images', images]) == 0
    before = load_episodes(open_source(bag), Context())
    after = load_episodes(open_source(out), Context())
    listed = load_episodes(open_source(out / 'meta.json', 'xvla_airbot'), Context())
    for one, other, third in zip(before, after, listed, strict=True):
        for read_back in (other, third):
            assert read_back.instruction == one.instruction
            assert np.abs(read_back.positions - one.positions).max() < 1e-6
        assert np.abs(other.openings - one.openings).max() < 1e-6
        assert np.abs(other.times_s - one.times_s).max() < 1e-6
        for a, b in zip(one.look(3), other.look(3), strict=True):
            assert np.abs(a.astype(int) - b.astype(int)).mean() <= (0 if images == 'png' else 4)
    # The authors take what cv2 decodes as it is: that must be RGB.
    with h5py.File(out / 'episode_000000.hdf5') as file:
        stored = np.asarray(file['observations/images/main'][3])
    decoded = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - before[0].look(3)[0].astype(int)).mean() <= 4
