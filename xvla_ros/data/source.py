# SPDX-License-Identifier: Apache-2.0
"""A source file: what recorded data means, as data. There is no class per dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.schema import param, read

ROSBAG, LEROBOT, HDF5, SCATTERED = 'rosbag2', 'lerobot', 'hdf5', 'scattered'
FORMATS = (ROSBAG, LEROBOT, HDF5, SCATTERED)
METRES = {'m': 1.0, 'mm': 1e-3}
RADIANS = {'rad': 1.0, 'deg': 0.017453292519943295}
SECONDS = {'s': 1.0, 'ms': 1e-3, 'us': 1e-6, 'ns': 1e-9}
# Name -> how many numbers; Euler angles are by axes: xyz turns about fixed axes, XYZ about moving.
ROTATIONS = {
    'quaternion_xyzw': 4,
    'quaternion_wxyz': 4,
    'rotate6d_interleaved': 6,
    'rotate6d_contiguous': 6,
    'rotation_vector': 3,
    'matrix': 9,
    **{f'euler_{axes}': 3 for axes in ('xyz', 'zyx', 'zyz', 'XYZ', 'ZYX', 'ZYZ')},
}
# Beside a dataset that `xvla convert-data` wrote: how to read it.
BESIDE = 'xvla_source.yaml'
SHIPPED = 'sources'


@dataclass(frozen=True, kw_only=True)
class CameraKeys:
    """One camera: where its images are, and how they are stored."""

    key: str = param(
        'Name of the feature or dataset; for `scattered` a path with {frame} in it, from the '
        "episode's folder."
    )
    colours: str = param(
        'The order of the three numbers of a stored pixel, where pixels are stored as they are.',
        'rgb',
        choices=('rgb', 'bgr'),
    )
    file_colours: str = param(
        'What a standard decoder finds where JPEG or PNG files are stored; bgr where RGB arrays '
        'went through cv2.imencode.',
        'rgb',
        choices=('rgb', 'bgr'),
    )
    rotate_180: bool = param('The stored image is upside down.', False)
    height: int = param('Rows, where images are stored as flat bytes.', 0, low=0)
    width: int = param('Columns of such images.', 0, low=0)


@dataclass(frozen=True, kw_only=True)
class PoseKeys:
    """
    Where the pose and gripper of an arm are: `key`, or parts of its rows: `key[0:3]`, `key[-1]`.

    Either position and rotation, or joints, whose poses come from the URDF of the embodiment.
    """

    position: str = param('x, y, z of the tool, base frame of the arm.', '')
    unit: str = param('Unit of the position.', 'm', choices=tuple(METRES))
    rotation: str = param('Rotation of the tool.', '')
    rotation_format: str = param(
        'What its numbers are; euler_xyz turns about fixed axes, euler_XYZ about moving ones.',
        'quaternion_xyzw',
        choices=tuple(ROTATIONS),
    )
    angle_unit: str = param('Unit of angles and joints.', 'rad', choices=tuple(RADIANS))
    joints: str = param('Joint positions, in the order of the embodiment.', '')
    gripper: str = param('One number of the gripper. Empty: it is open all the time.', '')
    gripper_open: float = param('The number that means open.', 1.0)
    gripper_closed: float = param('The number that means closed.', 0.0)
    gripper_threshold: float | None = param(
        'Open or closed by this number; without it the opening is what is between.', None
    )

    def __post_init__(self) -> None:
        """Check that there is one way to a pose, and that a gripper has travel."""
        if bool(self.position) != bool(self.rotation):
            raise ValueError('position and rotation belong together: one of them is missing')
        if not (self.position or self.joints):
            raise ValueError('expected position and rotation, or joints')
        if self.gripper_open == self.gripper_closed:
            raise ValueError('gripper_open and gripper_closed are equal')


@dataclass(frozen=True, kw_only=True)
class ArmKeys:
    """One arm."""

    state: PoseKeys = param('Where it was.')
    action: PoseKeys | None = param(
        'Where it was sent. Without it the anchors are where it was later, as in X-VLA.', None
    )
    times: str = param("Its own time stamps; it is brought to the frames' times.", '')


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    Recordings and what their numbers mean.

    `cameras` and `arms` iterate in the order of the file: main view first, left arm first.
    """

    format: str = param('Which reader.', choices=FORMATS)
    paths: tuple[str, ...] = param(
        'Files, folders or patterns (*), relative to the source file. X-VLA meta files (.json) '
        'name files of their own.',
        (),
    )
    embodiment: str = param('The robot, where the command line names none.', '')
    instruction: str = param('What was done, in all episodes.', '')
    instruction_key: str = param('Key of a text in the data.', '')
    fps: float = param(
        'Frames per second where the data has no times; of a bag: take no more.',
        0.0,
        low=0.0,
        high=1000.0,
    )
    times: str = param('Key of the time of each frame.', '')
    time_unit: str = param('Unit of times.', 's', choices=tuple(SECONDS))
    cameras: dict[str, CameraKeys] = param('The cameras in view order, main first.', {})
    arms: dict[str, ArmKeys] = param('The arms, left first.', {})
    episodes: str = param(
        'HDF5: pattern of the groups that are episodes, as data/*. Empty: the file is one. '
        'Keys are relative to the group.',
        '',
    )
    table: str = param('scattered: the HDF5 file in the folder of an episode.', '')
    skip_frames: int = param('Frames at the beginning that begin no sample.', 0, low=0)
    margin_frames: int = param('Frames at the end that begin no sample.', 0, low=0)
    window_s: float = param(
        "Seconds that the checkpoint's anchors span, compared with the embodiment; 0: not.",
        0.0,
        low=0.0,
    )
    grippers_begin: str = param(
        'How grippers are when an episode begins; `any` where they may hold something.',
        'open',
        choices=('open', 'closed', 'any'),
    )

    def __post_init__(self) -> None:
        """Check that a format has what it needs, and nothing that it would not read."""
        described = bool(self.cameras or self.arms)
        if self.format == ROSBAG and described:
            raise ValueError('cameras and arms of a bag are what the embodiment says: leave out')
        if self.format != ROSBAG and not self.arms:
            raise ValueError('arms: expected one or two blocks that say where the poses are')
        if self.format == SCATTERED and not self.table:
            raise ValueError('table: expected the HDF5 file in the folder of an episode')


def load_source(path: str | Path) -> Source:
    """
    Read a source file, by path or by the name of one that is shipped; its paths become absolute.

    :raises ConfigError: it is missing, or a value in it is wrong; the message names the key.
    """
    file = source_file(str(path))
    source = read(Source, _merged(file), str(file))
    return replace(source, paths=tuple(str(file.parent / name) for name in source.paths))


def source_file(name: str) -> Path:
    """
    Return the file of a description.

    :raises ConfigError: there is none; the message lists those that are shipped.
    """
    if name.endswith(('.yaml', '.yml')):
        return Path(name)
    shipped = {file.stem: file for file in shared_file('config', SHIPPED).glob('*.yaml')}
    if name not in shipped:
        raise ConfigError(
            f"unknown description of data '{name}': expected a source file (.yaml) or one of "
            f'{", ".join(sorted(shipped))}'
        )
    return shipped[name]


def _merged(file: Path) -> dict[str, Any]:
    """Return the keys of a file over those of its `base`."""
    try:
        keys = yaml.safe_load(file.read_text(encoding='utf-8'))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f'{file}: cannot read the source file: {error}') from error
    if not isinstance(keys, dict):
        raise ConfigError(f'{file}: expected a source file, with `format:` and `paths:`')
    base = keys.pop('base', None)
    if base is None:
        return keys
    below = source_file(str(base))
    return _over(_merged(below if below.is_absolute() else file.parent / below), keys)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with another's values over it, block by block."""
    made = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = _over(made[key], value) if both else value
    return made
