# SPDX-License-Identifier: Apache-2.0
"""Image files decode to the pixels that Pillow has, or are refused when a part is missing."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from PIL import Image, ImageOps
import pytest

from xvla_ros.serve.image_files import decode_image_file, ImageFileError, ORIENTATION

SIZE = (97, 130)  # odd, so that blocks are cut at the edges


def sample_image(seed=0):
    """Return an image with shades, edges and noise, as a camera's has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([x * 255 / SIZE[1], y * 255 / SIZE[0], 255.0 * ((x // 8 + y // 8) % 2)], -1)
    return np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8)


def encoded(kind, image=None, **options):
    buffer = io.BytesIO()
    source = image if image is not None else Image.fromarray(sample_image())
    source.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    'jpeg': encoded('JPEG', quality=90),
    'jpeg 4:4:4': encoded('JPEG', quality=95, subsampling=0),
    'jpeg progressive': encoded('JPEG', quality=90, progressive=True),
    'jpeg restarts': encoded('JPEG', quality=90, restart_marker_blocks=4),
    'jpeg grey': encoded('JPEG', Image.fromarray(sample_image()).convert('L')),
    'png': encoded('PNG'),
    'png grey': encoded('PNG', Image.fromarray(sample_image()).convert('L')),
    'png palette': encoded('PNG', Image.fromarray(sample_image()).quantize(16)),
    'png alpha': encoded('PNG', Image.fromarray(sample_image()).convert('RGBA')),
    'webp': encoded('WEBP', quality=80),
    'webp lossless': encoded('WEBP', lossless=True),
    'bmp': encoded('BMP'),
}


@pytest.mark.parametrize('name', FILES)
def test_a_whole_file_has_pillows_pixels(name):
    expected = np.array(Image.open(io.BytesIO(FILES[name])).convert('RGB'))
    assert np.array_equal(decode_image_file(FILES[name]), expected)


@pytest.mark.parametrize('name', FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_early_end_is_refused(name, data):
    """Some last bytes of a PNG or BMP hold no pixel: an end mark, the padding of a row."""
    whole = FILES[name]
    kept = data.draw(st.integers(0, len(whole) - 1))
    try:
        found = decode_image_file(whole[:kept])
    except ImageFileError:
        return
    assert name.startswith(('png', 'bmp'))
    assert np.array_equal(found, decode_image_file(whole))


@pytest.mark.parametrize('name', [name for name in FILES if 'bmp' not in name])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_gap_in_the_body_is_refused(name, data):
    """A gap of a camera's lost packet. A few bytes may go unseen in a JPEG: it has no checksum."""
    whole = FILES[name]
    start = data.draw(st.integers(len(whole) // 3, len(whole) * 2 // 3))
    length = data.draw(st.integers(len(whole) // 6, len(whole) // 4))
    if name == 'jpeg progressive':  # its later scans only sharpen an image that is there
        start, length = len(whole) // 8, len(whole) // 3
    with pytest.raises(ImageFileError):
        decode_image_file(whole[:start] + whole[start + length :])


@pytest.mark.parametrize('name', ['png', 'png grey', 'png palette', 'png alpha'])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_bit_in_a_png_is_refused_or_harmless(name, data):
    whole = bytearray(FILES[name])
    where = data.draw(st.integers(8, len(whole) - 13))
    whole[where] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode_image_file(bytes(whole))
    except ImageFileError:
        return
    assert np.array_equal(found, decode_image_file(FILES[name]))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_jpeg_is_turned_upright_as_its_exif_says(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded('JPEG', quality=90, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode_image_file(data), np.array(expected))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'WEBP'])
def test_an_image_larger_than_allowed_is_refused_before_it_is_decoded(kind):
    with pytest.raises(ImageFileError, match='130 x 97 pixels, at most 12609') as refused:
        decode_image_file(encoded(kind), SIZE[0] * SIZE[1] - 1)
    assert refused.value.too_large
    assert decode_image_file(encoded(kind), SIZE[0] * SIZE[1]).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', 'no known format'),
        (b'no image', 'no known format'),
        (b'\xff\xd8 no jpeg', 'not a readable image'),
        (encoded('JPEG', Image.new('CMYK', (8, 8))), 'colour mode CMYK'),
        (encoded('PNG', Image.fromarray(np.zeros((8, 8), np.uint16))), 'colour mode I;16'),
        (encoded('GIF', Image.new('L', (8, 8))), 'no known format'),
    ],
)
def test_what_is_no_image_of_a_camera_is_refused(data, words):
    with pytest.raises(ImageFileError, match=words) as refused:
        decode_image_file(data)
    assert '0x' not in str(refused.value)
