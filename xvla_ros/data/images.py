# SPDX-License-Identifier: Apache-2.0
"""Stored images to RGB arrays: colours and sides are what the source file says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.data.source import CameraKeys
from xvla_ros.serve.image_files import decode_image_file

STARTS = (b'\xff\xd8', b'\x89PNG', b'RIFF', b'BM')


def turned(image: NDArray[np.uint8], colours: str, keys: CameraKeys) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) as RGB and upright."""
    rgb = image[..., ::-1] if colours == 'bgr' else image
    return np.ascontiguousarray(rgb[::-1, ::-1] if keys.rotate_180 else rgb)


def stored_image(element: Any, keys: CameraKeys) -> NDArray[np.uint8]:
    """
    Return one stored image (H, W, 3) uint8 RGB: an array, or the bytes of a file or of pixels.

    :raises ValueError: it is not an image. ImageFileError: the file is damaged.
    """
    array = np.asarray(element.tobytes() if isinstance(element, np.void) else element)
    if array.ndim == 3:
        if array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(f'an image is {array.shape} {array.dtype}, expected (H, W, 3) uint8')
        return turned(array, keys.colours, keys)
    data = bytes(element) if array.ndim == 0 else array.astype(np.uint8).tobytes()
    if data.startswith(STARTS):
        return turned(decode_image_file(data), keys.file_colours, keys)
    if keys.height and len(data) == keys.height * keys.width * 3:
        flat = np.frombuffer(data, np.uint8).reshape(keys.height, keys.width, 3)
        return turned(flat, keys.colours, keys)
    raise ValueError(
        f'{len(data)} bytes are neither a JPEG, PNG, WebP or BMP file nor pixels of the declared '
        'height and width'
    )
