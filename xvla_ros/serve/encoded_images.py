# SPDX-License-Identifier: Apache-2.0
"""
Encoded images on the wire, and their colour order.

The file does not show which colour order its encoder was given. X-VLA's v1 clients pass an RGB
array to `cv2.imencode`, which takes it for BGR, and its server decodes without swapping back, so
that the two mistakes cancel (models/modeling_xvla.py). Its v2 server swaps (inference_api), which
is right for files from cameras and other programs.
"""

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xvla_ros.serve.image_files import decode_image_file, ImageFileError
from xvla_ros.serve.requests import Limits, RequestError

ColorOrder = Literal['rgb', 'bgr']


def decode_image(
    array: NDArray[Any], order: ColorOrder, limits: Limits, name: str
) -> NDArray[np.uint8]:
    """
    Decode one compressed image to (H, W, 3) uint8 RGB.

    :param array: (bytes,) uint8, a whole JPEG, PNG, WebP or BMP file.
    :param order: colour order of the array that was given to `cv2.imencode`: `bgr` for an image
        that viewers show in its true colours, `rgb` for the swapped ones of the authors' v1
        clients.
    """
    try:
        pixels = decode_image_file(array.tobytes(), limits.pixels)
    except ImageFileError as error:
        raise RequestError(f'{name}: {error}', 413 if error.too_large else 422) from None
    return np.ascontiguousarray(pixels[..., ::-1]) if order == 'rgb' else pixels


def encode_jpeg(image: NDArray[np.uint8], order: ColorOrder, quality: int) -> NDArray[np.uint8]:
    """Write (H, W, 3) uint8 RGB as a JPEG (bytes,) uint8 in a colour order, see `decode_image`."""
    pixels = image[..., ::-1] if order == 'rgb' else image
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, 'JPEG', quality=quality)
    return np.frombuffer(buffer.getvalue(), np.uint8)
