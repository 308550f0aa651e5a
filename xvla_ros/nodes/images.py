# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB arrays. Colour order is always explicit: the model learnt from RGB."""

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from xvla_ros.core.errors import ObservationError

# Encoding -> (channels, where R, G and B are in a pixel); names of
# sensor_msgs/image_encodings.hpp.
ENCODINGS = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    'mono8': (1, (0, 0, 0)),
}


def image_from_message(
    message: Image | CompressedImage, topic: str, rotate_180: bool = False
) -> NDArray[np.uint8]:
    """
    Return the picture (H, W, 3) uint8 RGB.

    :param rotate_180: turn it upside down (not mirrored).
    :raises ObservationError: the encoding is none of ours, or the data is not as long as its
        header says.
    """
    picture = (
        _compressed(message, topic)
        if isinstance(message, CompressedImage)
        else _raw(message, topic)
    )
    return np.ascontiguousarray(picture[::-1, ::-1] if rotate_180 else picture)


def check_layout(message: Image, topic: str) -> None:
    """
    Check an image's header without touching its pixels.

    :raises ObservationError: the encoding is none of ours, or the data is not as long as its
        header says.
    """
    if message.encoding not in ENCODINGS:
        raise ObservationError(
            f"{topic}: image encoding '{message.encoding}' is not supported; "
            f'one of {", ".join(ENCODINGS)} is'
        )
    width = message.width * ENCODINGS[message.encoding][0]
    step = message.step or width
    if (
        not message.height
        or not width
        or step < width
        or len(message.data) < step * message.height
    ):
        raise ObservationError(
            f'{topic}: {message.width}x{message.height} {message.encoding} image '
            f'with step {message.step} '
            f'holds {len(message.data)} bytes'
        )


def _raw(message: Image, topic: str) -> NDArray[np.uint8]:
    check_layout(message, topic)
    channels, rgb = ENCODINGS[message.encoding]
    width = message.width * channels
    step = message.step or width
    rows = np.frombuffer(message.data, np.uint8, step * message.height).reshape(
        message.height, step
    )
    picture = rows[:, :width].reshape(message.height, message.width, channels)
    return picture if channels == 3 and rgb == (0, 1, 2) else picture[..., list(rgb)]


def _compressed(message: CompressedImage, topic: str) -> NDArray[np.uint8]:
    import cv2  # only those with compressed cameras pay for it

    data = np.frombuffer(message.data, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise ObservationError(
            f"{topic}: cannot decode the compressed image, format '{message.format}'"
        )
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
