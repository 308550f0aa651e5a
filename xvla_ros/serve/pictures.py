# SPDX-License-Identifier: Apache-2.0
"""
Encoded images on the wire, and whose colours come first.

Which bytes mean red is not in the file: X-VLA's v1 clients hand an RGB array to `cv2.imencode`,
which takes it for BGR, and its server decodes without swapping back, so that the two mistakes
cancel (models/modeling_xvla.py). Its v2 server swaps (inference_api), which is right for any file
that a camera or another program wrote.
"""

import io
from typing import Literal
import warnings

import numpy as np
from PIL import Image, ImageOps

from xvla_ros.serve.requests import Limits, RequestError

ColorOrder = Literal['rgb', 'bgr']
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP')
MODES = ('RGB', 'RGBA', 'L', 'P')


def decode_image(array: np.ndarray, order: ColorOrder, limits: Limits, name: str) -> np.ndarray:
    """
    Decode one compressed image to (H, W, 3) uint8 RGB.

    :param array: (bytes,) uint8, a whole JPEG, PNG, WebP or BMP file.
    :param order: what the array was when it was given to `cv2.imencode`: `bgr` for a picture that
        any viewer shows in its true colours, `rgb` for the swapped ones of the authors' v1
        clients.
    """
    pixels = decode_file(array.tobytes(), limits, name)
    return np.ascontiguousarray(pixels[..., ::-1]) if order == 'rgb' else pixels


def decode_file(data: bytes, limits: Limits, name: str) -> np.ndarray:
    """Decode a picture to its true colours, after its header has been checked for size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        check_header(picture, limits, name)
        picture = ImageOps.exif_transpose(picture)  # as cv2.imdecode does
        return np.array(picture.convert('RGB'))
    except RequestError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the file makes them raise
        raise RequestError(
            f'{name}: {len(data)} bytes are not a readable image ({type(error).__name__}), '
            f'expected one of {", ".join(FORMATS)}'
        ) from None


def check_header(picture: Image.Image, limits: Limits, name: str) -> None:
    """Refuse what is too large or no 8-bit picture, before its pixels are decoded."""
    if picture.width * picture.height > limits.pixels:
        raise RequestError(
            f'{name}: {picture.width} x {picture.height} pixels, at most {limits.pixels}', 413
        )
    if picture.mode not in MODES:
        raise RequestError(f'{name}: colour mode {picture.mode}, expected 8-bit RGB or grey')


def encode_jpeg(image: np.ndarray, order: ColorOrder, quality: int) -> np.ndarray:
    """Write (H, W, 3) uint8 RGB as a JPEG (bytes,) uint8 in a colour order, see `decode_image`."""
    pixels = image[..., ::-1] if order == 'rgb' else image
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, 'JPEG', quality=quality)
    return np.frombuffer(buffer.getvalue(), np.uint8)
