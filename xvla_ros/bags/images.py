# SPDX-License-Identifier: Apache-2.0
"""Compresses and decompresses camera messages of a recording, with image_transport's names."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xvla_ros.bags.message_types import read_message, typestore, write_message
from xvla_ros.bags.topics import COMPRESSED, IMAGE
from xvla_ros.core.errors import ObservationError

FORMS = ('jpeg', 'png', 'raw')
# image_transport's default: hardly a visible difference, at a tenth of the size.
JPEG_QUALITY = 95
# Encoding -> (channels, where R, G and B are in a pixel).
COLOURS: dict[str, tuple[int, tuple[int, ...]]] = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    'mono8': (1, (0,)),
}


def compressed_image(data: bytes, form: str) -> bytes | None:
    """
    Return a sensor_msgs/Image as a sensor_msgs/CompressedImage with the same header, both CDR.

    :param form: 'jpeg' (lossy) or 'png' (lossless, slower).
    :return: None if the image cannot be compressed: depth, Bayer, YUV, or a length that does not
        fit its header.
    """
    try:
        message = read_message(IMAGE, data)
    except ObservationError:
        return None
    pixels = _pixels(message)
    if pixels is None:
        return None
    packed = BytesIO()
    options = {'quality': JPEG_QUALITY} if form == 'jpeg' else {'compress_level': 1}
    Image.fromarray(pixels).save(packed, form, **options)
    inner = 'mono8' if pixels.ndim == 2 else 'bgr8'
    made = typestore().types[COMPRESSED](
        header=message.header,
        format=f'{message.encoding}; {form} compressed {inner}',
        data=np.frombuffer(packed.getvalue(), np.uint8),
    )
    return write_message(COMPRESSED, made)


def _pixels(message: object) -> NDArray[np.uint8] | None:
    """Return an image as (H, W, 3) RGB or (H, W) grey, uint8."""
    height, width, encoding = (getattr(message, name) for name in ('height', 'width', 'encoding'))
    data, step = getattr(message, 'data'), getattr(message, 'step')  # noqa: B009
    if encoding not in COLOURS or not height or not width:
        return None
    channels, rgb = COLOURS[encoding]
    step = step or width * channels
    if step < width * channels or len(data) < step * height:
        return None
    rows = np.asarray(data[: step * height], np.uint8).reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    if channels == 1:
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(pixels[..., list(rgb)])


def raw_image(data: bytes) -> bytes:
    """
    Return a sensor_msgs/CompressedImage as an rgb8 sensor_msgs/Image with the same header.

    :raises ObservationError: the image cannot be decoded.
    """
    message = read_message(COMPRESSED, data)
    try:
        with Image.open(BytesIO(bytes(message.data))) as opened:
            pixels = np.asarray(opened.convert('RGB'))
    except Exception as error:  # Pillow raises what its decoders raise
        raise ObservationError(
            f"cannot decode the compressed image, format '{message.format}': {error}"
        ) from error
    height, width, _ = pixels.shape
    made = typestore().types[IMAGE](
        header=message.header, height=height, width=width, encoding='rgb8', is_bigendian=0,
        step=3 * width, data=pixels.reshape(-1),
    )  # fmt: skip
    return write_message(IMAGE, made)
