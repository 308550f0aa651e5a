# SPDX-License-Identifier: Apache-2.0
"""
Decodes image files strictly: a damaged or truncated file is refused.

libjpeg repairs a damaged file and only warns, and OpenCV and Pillow drop the warning. Half of such
an image may be wrong. simplejpeg gives the same pixels but raises libjpeg's warnings. PNG has
checksums, and Pillow refuses truncated files of the other formats.
"""

import io
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
import simplejpeg

from xvla_ros.core.errors import XvlaError

# Formats other than JPEG, by Pillow's names.
FORMATS = ('PNG', 'WEBP', 'BMP')
# Pillow's names of 8-bit colour and grey.
MODES = ('RGB', 'RGBA', 'L', 'LA', 'P')
JPEG_START = b'\xff\xd8'
# The colour spaces of cameras' JPEGs, without the CMYK of printers.
JPEG_COLORS = ('Gray', 'YCbCr', 'RGB')
ORIENTATION = 0x0112  # the EXIF tag
# EXIF's orientations except 1 (upright) -> the transposition that makes them upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Default limit, above the pixels of any camera: 8192 x 4096.
MOST_PIXELS = 2**25


class ImageFileError(XvlaError):
    """
    A file that is not a complete image.

    :param too_large: it has more pixels than allowed.
    """

    def __init__(self, reason: str, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


def decode_image_file(data: bytes, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """
    Decode a JPEG, PNG, WebP or BMP file to (H, W, 3) uint8 RGB, upright by its EXIF data.

    :param most_pixels: a file with more pixels in its header is refused before it is decoded.
    :raises ImageFileError: the file is damaged, truncated, too large or no 8-bit image.
    """
    try:
        decode = decode_jpeg if data[:2] == JPEG_START else decode_other
        return decode(data, most_pixels)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow's plugins raise many types
        known = not isinstance(error, UnidentifiedImageError)
        raise ImageFileError(
            f'{len(data)} bytes are not a readable image '
            f'({error if known else "of no known format"}), expected a whole JPEG, PNG, WebP or '
            'BMP file'
        ) from None


def decode_jpeg(data: bytes, most_pixels: int) -> NDArray[np.uint8]:
    """Decode a JPEG; a warning of libjpeg is an error."""
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    check_size(width, height, most_pixels)
    if colors not in JPEG_COLORS:
        raise ImageFileError(f'colour mode {colors}, expected one of {", ".join(JPEG_COLORS)}')
    pixels = simplejpeg.decode_jpeg(data, 'RGB', strict=True)
    orientation = Image.open(io.BytesIO(data)).getexif().get(ORIENTATION)
    if orientation not in TURNS:
        return np.asarray(pixels, np.uint8)
    return np.array(Image.fromarray(pixels).transpose(TURNS[orientation]))


def decode_other(data: bytes, most_pixels: int) -> NDArray[np.uint8]:
    """Decode a file of another format with Pillow."""
    with warnings.catch_warnings():
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.format == 'PNG':
            image.verify()  # reads the checksums, which decoding does not
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    check_size(image.width, image.height, most_pixels)
    if image.mode not in MODES:
        raise ImageFileError(f'colour mode {image.mode}, expected 8-bit RGB or grey')
    return np.array(ImageOps.exif_transpose(image).convert('RGB'))


def check_size(width: int, height: int, most_pixels: int) -> None:
    """Refuse an image with too many pixels before it is decoded."""
    if width * height > most_pixels:
        raise ImageFileError(f'{width} x {height} pixels, at most {most_pixels}', too_large=True)
