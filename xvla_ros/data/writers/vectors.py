# SPDX-License-Identifier: Apache-2.0
"""Episodes as the vectors that are written: EE6D of X-VLA, grippers 1 for closed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.ee6d import ARM_SIZE, EE6D_SIZE, GRIPPER, POSITION, ROTATION
from xvla_ros.core.rotations import matrix_to_rotate6d
from xvla_ros.data.episodes import Motion

LAYOUT = 'interleaved'  # of X-VLA's training data


def ee6d_rows(motion: Motion, layout: str = LAYOUT) -> NDArray[np.float32]:
    """Return the rows (F, 20) of a motion; the half of an absent arm is zero."""
    frames, arms = motion.openings.shape
    rows = np.zeros((frames, EE6D_SIZE), np.float32)
    for index in range(arms):
        half = rows[:, ARM_SIZE * index :]
        half[:, POSITION] = motion.positions[:, index]
        matrices = Rotation.from_quat(motion.quaternions[:, index]).as_matrix()
        half[:, ROTATION] = matrix_to_rotate6d(matrices, layout)
        half[:, GRIPPER] = 1.0 - motion.openings[:, index]
    return rows


def next_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what follows each row; the last one stays."""
    return np.concatenate([rows[1:], rows[-1:]])


def ee6d_names(arms: Sequence[str]) -> list[str]:
    """Return the name of each of the 20 numbers."""
    parts = ['x', 'y', 'z', *(f'rotation_{i}' for i in range(6)), 'gripper_closed']
    known = [*arms, *(('unused',) if len(arms) == 1 else ())]
    return [f'{arm}.{part}' for arm in known for part in parts]
