# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB arrays. An unknown colour order is refused, never guessed."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import ObservationError
from xvla_ros.core.image_encodings import UNNAMED, VIDEO_FORMATS


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """
    How an image message stores its pixels.

    :param channels: values of a pixel in a row; `depth`: bytes of a value.
    :param order: the channels that hold red, green and blue; none: OpenCV converts.
    :param code: OpenCV's conversion to RGB, without `COLOR_`.
    :param rows: stored rows per row of the image.
    """

    channels: int
    depth: int = 1
    order: tuple[int, int, int] | None = None
    code: str = ''
    rows: Fraction = Fraction(1)

    def row_bytes(self, width: int) -> int:
        """Return the bytes of one row without padding."""
        return width * self.channels * self.depth


CHANNELS = {
    'rgb': (3, (0, 1, 2)),
    'bgr': (3, (2, 1, 0)),
    'rgba': (4, (0, 1, 2)),
    'bgra': (4, (2, 1, 0)),
    'mono': (1, (0, 0, 0)),
}
HALF_MORE = Fraction(3, 2)
# By sensor_msgs' names (image_encodings.hpp), and the names that drivers use for the same.
ENCODINGS = {
    f'{name}{8 * depth}': Encoding(channels=channels, depth=depth, order=order)
    for name, (channels, order) in CHANNELS.items()
    for depth in (1, 2)
}
ENCODINGS |= {
    f'bayer_{pattern}{8 * depth}': Encoding(
        channels=1, depth=depth, code=f'Bayer{pattern.upper()}2RGB'
    )
    for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
    for depth in (1, 2)
}
ENCODINGS |= {
    name: Encoding(channels=2, code=f'YUV2RGB_{order}')
    for name, order in (
        ('yuv422', 'UYVY'),
        ('uyvy', 'UYVY'),
        ('yuv422_yuy2', 'YUY2'),
        ('yuyv', 'YUY2'),
    )
}
ENCODINGS |= {
    name: Encoding(channels=1, code=f'YUV2RGB_{name.upper()}', rows=HALF_MORE)
    for name in ('nv12', 'nv21')
}


def image_from_message(
    message: Any, topic: str, rotate_180: bool = False, declared: str = ''
) -> NDArray[np.uint8]:
    """
    Return the image (H, W, 3) uint8 RGB; 16-bit values are scaled, YUV is BT.601.

    :param rotate_180: turn it upside down (not mirrored).
    :param declared: encoding of messages whose own names no colours, such as 8UC3.
    :raises ObservationError: the encoding is not known, the data is not as long as the header
        says, or a compressed image is damaged.
    """
    image = (
        _compressed(message, topic)
        if hasattr(message, 'format')  # sensor_msgs/CompressedImage, of rclpy or a bag reader
        else _raw(message, topic, declared)
    )
    return np.ascontiguousarray(image[::-1, ::-1] if rotate_180 else image)


def check_layout(message: Any, topic: str, declared: str = '') -> Encoding:
    """
    Check an image's header without touching its pixels, and return how they are stored.

    :param declared: encoding of messages whose own names no colours.
    :raises ObservationError: the encoding is not known, or the data is not as long as the header
        says.
    """
    encoding = _encoding(message.encoding, topic, declared)
    width, height = encoding.row_bytes(message.width), message.height
    step = message.step or width
    # Chroma is shared by two columns, and where there are fewer rows of it, by two rows.
    odd = 'YUV' in encoding.code and (message.width % 2 or height * encoding.rows % 1)
    stored = step * height * encoding.rows
    if not height or not width or step < width or odd or len(message.data) < stored:
        raise ObservationError(
            f'{topic}: {message.width}x{height} {message.encoding} image with step '
            f'{message.step} holds {len(message.data)} bytes, expected rows of {width} bytes'
            f'{" and even sides" if odd else ""}',
            code='image_size',
        )
    return encoding


def _encoding(name: str, topic: str, declared: str) -> Encoding:
    """Return the encoding of a message, or what is declared for one that names no colours."""
    if name in UNNAMED:
        known = ENCODINGS.get(declared)
        if known and (known.channels, known.depth) == UNNAMED[name]:
            return known
        unfit = f" ('{declared}' does not fit it)" if declared else ''
        raise ObservationError(
            f"{topic}: image encoding '{name}' does not say which value is which colour; expected "
            f"`encoding` of this camera to say what its driver means, such as 'bgr8'{unfit}",
            code='encoding',
        )
    if declared and name.lower() != declared:
        raise ObservationError(
            f"{topic}: image encoding is '{name}', but `encoding` of this camera is '{declared}'",
            code='encoding',
        )
    if name.lower() not in ENCODINGS:
        raise ObservationError(
            f"{topic}: image encoding '{name}' is not supported; "
            f'one of {", ".join(ENCODINGS)} is{video_hint(name, topic)}',
            code='encoding',
        )
    return ENCODINGS[name.lower()]


def _raw(message: Any, topic: str, declared: str) -> NDArray[np.uint8]:
    encoding = check_layout(message, topic, declared)
    values = _values(message, encoding)
    if encoding.code:
        import cv2  # imported here: only some cameras need it

        values = cv2.cvtColor(np.ascontiguousarray(values), getattr(cv2, f'COLOR_{encoding.code}'))
    elif encoding.order != (0, 1, 2) or encoding.channels != 3:
        values = values[..., list(encoding.order or ())]
    return eight_bits(values)


def _values(message: Any, encoding: Encoding) -> NDArray[Any]:
    """View the data as (rows, width, channels), or (rows, width) of one channel for OpenCV."""
    width = encoding.row_bytes(message.width)
    step, height = message.step or width, int(message.height * encoding.rows)
    rows = np.frombuffer(message.data, np.uint8, step * height).reshape(height, step)[:, :width]
    kind = np.dtype(f'{">" if message.is_bigendian else "<"}u{encoding.depth}')
    if encoding.depth > 1:
        rows = np.ascontiguousarray(rows).view(kind).astype(np.uint16)
    if encoding.code and encoding.channels == 1:
        return rows
    return rows.reshape(height, message.width, encoding.channels)


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale 16-bit values (0 to 65535) to 0 to 255, rounded; 8-bit values stay."""
    if values.dtype == np.uint8:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _compressed(message: Any, topic: str) -> NDArray[np.uint8]:
    # Imported here: only compressed cameras need it.
    from xvla_ros.serve.image_files import decode_image_file, ImageFileError

    try:
        return decode_image_file(bytes(message.data))
    except ImageFileError as error:
        raise ObservationError(
            f"{topic}: cannot decode the compressed image, format '{message.format}': {error}"
            f'{video_hint(message.format, topic)}',
            code='image_damaged',
        ) from None


def video_hint(kind: str, topic: str) -> str:
    """
    Name the republisher where a camera sends a video stream; '' where it does not.

    :param kind: a message's format or encoding, or the type of its topic.
    """
    transport = next((t for word, t in VIDEO_FORMATS.items() if word in kind.lower()), None)
    if transport is None:
        return ''
    return (
        '; one message of a video stream is no image: run `ros2 run image_transport republish '
        f'--ros-args -p in_transport:={transport} -p out_transport:=raw '
        f'-r in/{transport}:={topic} -r out:={topic}/raw` and use {topic}/raw'
    )
