# SPDX-License-Identifier: Apache-2.0
"""Turns the columns that a source file names into poses: units, rotations, kinematics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.rotations import rotate6d_residual, rotate6d_to_matrix
from xvla_ros.core.settings import ArmSettings
from xvla_ros.data.columns import Column, Table
from xvla_ros.data.episodes import Motion
from xvla_ros.data.source import METRES, PoseKeys, RADIANS, ROTATIONS

Array = NDArray[np.float64]
# Rotations that deviate more than this from a valid one are damaged or of another format.
ROTATION_TOLERANCE = 0.05


class FrameError(ValueError):
    """What is wrong with one frame of a column."""

    def __init__(self, text: str, frame: int, what: str) -> None:
        super().__init__(text)
        self.frame, self.what = frame, what


@dataclass(frozen=True, slots=True, eq=False)
class ArmMotion:
    """
    One arm: positions (F, 3) [m], quaternions (F, 4) xyzw, openings (F,), joints (F, J) [rad].

    joints is None where poses are not from them.
    """

    positions: Array
    quaternions: Array
    openings: Array
    joints: Array | None = None


def arm_motion(keys: PoseKeys, table: Table, settings: ArmSettings | None) -> ArmMotion:
    """
    Return what a block of keys says of an arm.

    :param settings: of the embodiment, where poses come from joints.
    :raises ValueError: a column is missing or of another size; FrameError: a frame is wrong.
    """
    # Beside recorded poses joints are for checks alone, which need a robot.
    wanted = keys.joints and not (keys.position and settings is None)
    joints = _joints(keys, table, settings) if wanted else None
    if keys.position:
        positions = Column.parse(keys.position).of(table, 3) * METRES[keys.unit]
        quaternions = _quaternions(keys, table)
    else:
        assert joints is not None  # PoseKeys says so
        positions, quaternions = _forward(joints, settings)
    return ArmMotion(positions, quaternions, _openings(keys, table, len(positions)), joints)


def together(arms: Sequence[ArmMotion]) -> Motion:
    """Return the arms as one motion."""
    return Motion(
        positions=np.stack([arm.positions for arm in arms], axis=1),
        quaternions=np.stack([arm.quaternions for arm in arms], axis=1),
        openings=np.stack([arm.openings for arm in arms], axis=1),
    )


def settings_of(embodiment: Embodiment | None, index: int) -> ArmSettings | None:
    """Return the settings of an arm by its place, where there is one."""
    arms = list(embodiment.arms.values()) if embodiment else []
    return arms[index] if index < len(arms) else None


def _joints(keys: PoseKeys, table: Table, settings: ArmSettings | None) -> Array:
    if settings is None:
        raise ValueError('poses from joints need a robot: give --embodiment')
    return (
        Column.parse(keys.joints).of(table, len(settings.joint_names)) * RADIANS[keys.angle_unit]
    )


def _forward(joints: Array, settings: ArmSettings | None) -> tuple[Array, Array]:
    assert settings is not None  # _joints has looked
    check_finite(joints, 'a joint position')
    kinematics = arm_kinematics(settings)
    poses = [kinematics.forward(row) for row in joints]
    positions, quaternions = zip(*poses, strict=True)
    return np.array(positions), np.array(quaternions)


def check_finite(values: Array, what: str) -> None:
    """Refuse values (F, ...) that are not numbers, naming the frame."""
    within = tuple(range(1, values.ndim))
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=within))
    if len(wrong):
        raise FrameError(f'{what} is not a number', int(wrong[0]), 'number')


def _quaternions(keys: PoseKeys, table: Table) -> Array:
    kind = keys.rotation_format
    values = Column.parse(keys.rotation).of(table, ROTATIONS[kind])
    check_finite(values, f"'{keys.rotation}'")
    family, _, variant = kind.partition('_')
    if family == 'quaternion':
        return _unit(values if variant == 'xyzw' else np.roll(values, -1, axis=1), keys.rotation)
    if family == 'rotate6d':
        off = rotate6d_residual(values, variant)
        _refuse(off > ROTATION_TOLERANCE, f"'{keys.rotation}' is no {kind}: off by", off)
        matrices = rotate6d_to_matrix(values, variant)
        return np.asarray(Rotation.from_matrix(matrices).as_quat())
    if kind == 'matrix':
        matrices = values.reshape(-1, 3, 3)
        off = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        _refuse(off > ROTATION_TOLERANCE, f"'{keys.rotation}' is no rotation matrix: off by", off)
        return np.asarray(Rotation.from_matrix(matrices).as_quat())
    scaled = values * RADIANS[keys.angle_unit]
    if family == 'euler':
        return np.asarray(Rotation.from_euler(variant, scaled).as_quat())
    return np.asarray(Rotation.from_rotvec(scaled).as_quat())


def _unit(values: Array, name: str) -> Array:
    """Return quaternions of length one that were nearly so."""
    lengths = np.linalg.norm(values, axis=1)
    off = np.abs(lengths - 1)
    _refuse(off > ROTATION_TOLERANCE, f"'{name}' is no quaternion: its length is off by", off)
    return np.asarray(values / lengths[:, None])


def _refuse(wrong: NDArray[np.bool_], text: str, off: Array) -> None:
    if wrong.any():
        frame = int(np.flatnonzero(wrong)[0])
        raise FrameError(f'{text} {off[frame]:.3g}', frame, 'rotation')


def _openings(keys: PoseKeys, table: Table, frames: int) -> Array:
    """Return openings (F,), 0 closed to 1 open."""
    if not keys.gripper:
        return np.ones(frames)
    values = Column.parse(keys.gripper).of(table, 1)[:, 0]
    check_finite(values, f"'{keys.gripper}'")
    if keys.gripper_threshold is not None:
        opens_up = keys.gripper_open > keys.gripper_closed
        above = values > keys.gripper_threshold
        return np.asarray((above if opens_up else ~above).astype(np.float64))
    opening = (values - keys.gripper_closed) / (keys.gripper_open - keys.gripper_closed)
    return np.asarray(np.clip(opening, 0.0, 1.0))
