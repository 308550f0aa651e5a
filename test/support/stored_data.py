# SPDX-License-Identifier: Apache-2.0
"""Recordings in the layout that a source file describes, made from a known motion."""

import cv2
import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from xvla_ros.core.rotations import matrix_to_rotate6d
from xvla_ros.data.columns import Column
from xvla_ros.data.episodes import Motion
from xvla_ros.data.source import METRES, RADIANS

FRAMES, SIDES = 12, (24, 32)
INSTRUCTION = 'pick up the red block'


def motion(arms, seed=0, frames=FRAMES):
    """Return a smooth motion that begins with open grippers."""
    random = np.random.default_rng(seed)
    share = np.linspace(0, 1, frames)[:, None, None]
    start, end = random.uniform(0.2, 0.5, (2, 1, arms, 3))
    turn = Rotation.from_rotvec(random.uniform(-1, 1, (arms, 3)))
    path = [Rotation.from_rotvec(s * turn.as_rotvec()).as_quat() for s in share[:, 0, 0]]
    return Motion(
        positions=(1 - share) * start + share * end,
        quaternions=np.array(path),
        openings=np.repeat((share[:, :, 0] < 0.6).astype(float), arms, axis=1),
    )


def image_of(frame, camera):
    """Return an image (H, W, 3) RGB whose colours tell frame and camera."""
    made = np.zeros((*SIDES, 3), np.uint8)
    made[..., 0], made[: SIDES[0] // 2, :, 2] = 10 * frame, 100 + 40 * camera
    return made


def rotation_numbers(quaternions, keys):
    """Return rotations (F, 4) xyzw as the numbers of a format."""
    turns, kind = Rotation.from_quat(quaternions), keys.rotation_format
    family, _, variant = kind.partition('_')
    if family == 'quaternion':
        return quaternions if variant == 'xyzw' else np.roll(quaternions, 1, axis=1)
    if family == 'rotate6d':
        return matrix_to_rotate6d(turns.as_matrix(), variant)
    if kind == 'matrix':
        return turns.as_matrix().reshape(-1, 9)
    if family == 'euler':
        return turns.as_euler(variant) / RADIANS[keys.angle_unit]
    return turns.as_rotvec() / RADIANS[keys.angle_unit]


def numbers(source, moved, joints=None):
    """Yield each reference of a source with the numbers (F, N) that belong there."""
    for index, arm in enumerate(source.arms.values()):
        for keys in filter(None, (arm.state, arm.action)):
            opening = moved.openings[:, index, None]
            if keys.position:
                yield keys.position, moved.positions[:, index] / METRES[keys.unit]
                yield keys.rotation, rotation_numbers(moved.quaternions[:, index], keys)
            else:
                yield keys.joints, joints[:, index]
            if keys.gripper:
                span = keys.gripper_open - keys.gripper_closed
                yield keys.gripper, keys.gripper_closed + opening * span
        if arm.times:
            yield arm.times, np.arange(len(moved.openings))[:, None] / (source.fps or 30.0)


def columns(source, moved, joints=None):
    """Return the datasets (F, ...) that hold the numbers of a motion."""
    references = [(Column.parse(text), values) for text, values in numbers(source, moved, joints)]
    made = {}
    for key in {column.key for column, _ in references}:
        mine = [(c, v) for c, v in references if c.key == key]
        from_behind = sum(c.parts == (-1,) for c, _ in mine)
        size = max(_end(c, v) for c, v in mine) + from_behind
        made[key] = np.zeros((len(moved.openings), size))
    for column, values in references:
        rows = made[column.key]
        rows[(slice(None), *column.parts)] = values if rows[
            (slice(None), *column.parts)].ndim > 1 else values[:, 0]  # fmt: skip
    return made


def _end(column, values):
    """Return how many numbers a row must have for a reference."""
    if not column.parts:
        return values.shape[1]
    (part,) = column.parts
    if isinstance(part, slice):
        return part.stop
    return max(part, 0) + 1


def write_images(group, cameras, frames, packed=False):
    """Store the images of cameras as arrays, or as files by cv2 from RGB arrays."""
    for number, keys in enumerate(cameras.values()):
        images = [image_of(frame, number) for frame in range(frames)]
        if keys.rotate_180:
            images = [p[::-1, ::-1] for p in images]
        if not packed:
            group[keys.key] = np.stack(images)
            continue
        stored = group.create_dataset(keys.key, (frames,), h5py.vlen_dtype(np.uint8))
        for frame, each in enumerate(images):
            swapped = each if keys.file_colours == 'bgr' else each[..., ::-1]
            stored[frame] = cv2.imencode('.png', swapped)[1]


def write_group(group, source, moved, joints=None, packed=False):
    """Write one episode into an HDF5 group."""
    for key, rows in columns(source, moved, joints).items():
        group[key] = rows
    write_images(group, source.cameras, len(moved.openings), packed)
    if source.instruction_key:
        group[source.instruction_key] = INSTRUCTION
