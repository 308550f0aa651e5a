# SPDX-License-Identifier: Apache-2.0
"""
Rotate6D, the rotation format of X-VLA: two columns of a rotation matrix, in one of two orders.

X-VLA's training data and most of its clients flatten ``R[:, :2]`` row by row ('interleaved',
datasets/utils.py); LIBERO's client and LeRobot stack the two columns ('contiguous',
evaluation/libero/libero_client.py). The six numbers do not show their order, so the layout is
always an explicit argument here.
"""

from typing import get_args, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Layout = Literal['interleaved', 'contiguous']
ROTATION_LAYOUTS: tuple[str, ...] = get_args(Layout)

Array = NDArray[np.float64]

# Columns shorter than this have no direction.
TINY = 1e-9


def rotate6d_columns(v: ArrayLike, layout: str) -> tuple[Array, Array]:
    """Return the two matrix columns a1, a2, each (..., 3), that Rotate6D values (..., 6) hold."""
    v = np.asarray(v, dtype=np.float64)
    if v.shape[-1:] != (6,):
        raise ValueError(f'Rotate6D needs a last axis of 6, got shape {v.shape}')
    if layout == 'interleaved':
        return v[..., 0::2], v[..., 1::2]
    if layout == 'contiguous':
        return v[..., :3], v[..., 3:]
    raise ValueError(f'unknown Rotate6D layout {layout!r}, expected one of {ROTATION_LAYOUTS}')


def rotate6d_from_columns(a1: Array, a2: Array, layout: str) -> Array:
    """Return the Rotate6D values (..., 6) of two matrix columns (..., 3), unchanged."""
    if layout == 'interleaved':
        return np.stack([a1, a2], axis=-1).reshape(*a1.shape[:-1], 6)
    if layout == 'contiguous':
        return np.concatenate([a1, a2], axis=-1)
    raise ValueError(f'unknown Rotate6D layout {layout!r}, expected one of {ROTATION_LAYOUTS}')


def rotate6d_to_matrix(v: ArrayLike, layout: str) -> Array:
    """
    Return the rotation matrices (..., 3, 3) of Rotate6D values (..., 6), by Gram-Schmidt.

    :raises ValueError: the values are not finite, or their two columns are zero or parallel.
    """
    rotation, shape = split_rotate6d(v, layout)
    lengths = np.diagonal(shape, axis1=-2, axis2=-1)
    if not np.all(lengths > TINY):  # also false for NaN
        raise ValueError(
            'Rotate6D columns are zero, parallel or not finite: they define no rotation'
        )
    return rotation


def split_rotate6d(v: ArrayLike, layout: str) -> tuple[Array, Array]:
    """
    Return the rotations (..., 3, 3) that raw Rotate6D values (..., 6) define, and their shape.

    `rotation[..., :2] @ shape` gives the two columns again. The shape (..., 2, 2) is upper
    triangular and holds lengths and skew; it is the identity for an exact rotation. Values that
    define no rotation have a singular shape, or NaN.
    """
    a1, a2 = rotate6d_columns(v, layout)
    b1, length = _direction(a1)
    along = np.sum(b1 * a2, axis=-1, keepdims=True)
    b2, height = _direction(a2 - along * b1)
    rotation = np.stack([b1, b2, np.cross(b1, b2)], axis=-1)
    shape = np.concatenate([length, along, np.zeros_like(length), height], axis=-1)
    return rotation, shape.reshape(*shape.shape[:-1], 2, 2)


def _direction(v: Array) -> tuple[Array, Array]:
    """Return v (..., 3) scaled to length one, zero where it is tiny, and its length (..., 1)."""
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.where(length <= TINY, 0.0, v) / np.maximum(length, TINY), length


def matrix_to_rotate6d(R: ArrayLike, layout: str) -> Array:
    """Return the Rotate6D values (..., 6) of rotation matrices (..., 3, 3)."""
    R = np.asarray(R, dtype=np.float64)
    if R.shape[-2:] != (3, 3):
        raise ValueError(f'rotation matrices need last axes (3, 3), got shape {R.shape}')
    return rotate6d_from_columns(R[..., :, 0], R[..., :, 1], layout)


def rotate6d_residual(v: ArrayLike, layout: str) -> Array:
    """
    Return how far Rotate6D values (..., 6) are from two orthonormal columns, shape (...).

    The sum of both columns' length errors and of their inner product: about 0 under the right
    layout, 0.85 on average for random rotations read under the wrong one.
    """
    a1, a2 = rotate6d_columns(v, layout)
    lengths = np.abs(np.linalg.norm(a1, axis=-1) - 1) + np.abs(np.linalg.norm(a2, axis=-1) - 1)
    residual: Array = lengths + np.abs(np.sum(a1 * a2, axis=-1))
    return residual
