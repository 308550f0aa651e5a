# SPDX-License-Identifier: Apache-2.0
"""Every encoding of a camera becomes the same RGB image, or is refused by name."""

import io
import random

import numpy as np
from PIL import Image as Pillow
import pytest

pytest.importorskip('rclpy', reason='messages need ROS')

import cv2
from sensor_msgs.msg import CompressedImage, Image

from xvla_ros.core.errors import ObservationError
from xvla_ros.core.image_encodings import DECLARABLE, UNNAMED
from xvla_ros.inputs.images import check_layout, ENCODINGS, image_from_message, video_hint

pytestmark = pytest.mark.ros
HEIGHT, WIDTH = 48, 64
# Left red, right blue, with a lighter band: sharp edges on even columns and rows only.
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
IMAGE[:, :32], IMAGE[:, 32:], IMAGE[16:32] = (200, 30, 40), (30, 50, 180), (190, 180, 60)
# Places away from the edges, where demosaicing and shared chroma mix neighbours.
INSIDE = [(8, 12), (8, 50), (24, 20), (24, 44), (40, 12), (40, 50)]


def message(encoding, values, padding=0, big=False):
    """Return an image message; `values` is (rows, ...) of uint8 or uint16."""
    values = values.astype(values.dtype.newbyteorder('>' if big else '<'))
    rows = [row.tobytes() + b'\xee' * padding for row in values]
    return Image(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=big,
        step=len(rows[0]),
        data=b''.join(rows),
    )


def mosaic(pattern):
    """Return IMAGE as a Bayer sensor with this pattern of its first 2 x 2 pixels sees it."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for index, color in enumerate(pattern):
        row, column = divmod(index, 2)
        values[row::2, column::2] = IMAGE[row::2, column::2, 'rgb'.index(color)]
    return values


def stored():
    """Return every encoding with IMAGE's values in it, 8-bit; grey where it has no colour."""
    rgb, alpha = IMAGE, np.full((HEIGHT, WIDTH, 1), 77, np.uint8)
    bgr = rgb[..., ::-1]
    plain = {
        'rgb8': rgb,
        'bgr8': bgr,
        'rgba8': np.dstack([rgb, alpha]),
        'bgra8': np.dstack([bgr, alpha]),
        'mono8': rgb[..., 0],
    }
    bayer = {f'bayer_{p}8': mosaic(p) for p in ('rggb', 'bggr', 'gbrg', 'grbg')}
    wide = {
        name.replace('8', '16'): values.astype(np.uint16) * 257
        for name, values in (plain | bayer).items()
    }
    i420 = cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2YUV_I420)
    luma, chroma = i420[:HEIGHT], i420[HEIGHT:].reshape(2, -1)
    # Both rows of a pair have the same U and V. OpenCV 4.6 does not pack 4:2:2 itself.
    both_rows = chroma.reshape(2, HEIGHT // 2, WIDTH // 2).repeat(2, axis=1)
    shared = np.moveaxis(both_rows, 0, -1).reshape(HEIGHT, WIDTH)
    uyvy, yuyv = np.dstack([shared, luma]), np.dstack([luma, shared])
    halves = {'nv12': chroma, 'nv21': chroma[::-1]}
    planar = {
        name: np.vstack([luma, both.T.reshape(HEIGHT // 2, WIDTH)])
        for name, both in halves.items()
    }
    packed = {'yuv422': uyvy, 'uyvy': uyvy, 'yuv422_yuy2': yuyv, 'yuyv': yuyv}
    return plain | bayer | wide | packed | planar


STORED = stored()


def test_every_encoding_is_tested_and_every_declarable_one_is_known():
    assert set(STORED) == set(ENCODINGS)
    assert set(DECLARABLE) <= set(ENCODINGS)


@pytest.mark.parametrize('encoding', STORED)
@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('big', [False, True])
def test_every_encoding_becomes_rgb(encoding, padding, big):
    found = image_from_message(message(encoding, STORED[encoding], padding, big), 'camera')
    expected = IMAGE[..., [0, 0, 0]] if 'mono' in encoding else IMAGE
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert found.dtype == np.uint8
    exact = not encoding.startswith(('bayer', 'yuv', 'uyvy', 'yuyv', 'nv'))
    if exact:
        assert np.array_equal(found, expected)
    for row, column in INSIDE:
        assert np.abs(found[row, column].astype(int) - expected[row, column]).max() <= 3


@pytest.mark.parametrize('encoding', STORED)
def test_the_colours_are_those_of_cv_bridge(encoding):
    """The Python build of cv_bridge that pip installs knows fewer encodings than the real one."""
    bridge = pytest.importorskip('cv_bridge').CvBridge()
    sent = message(encoding, STORED[encoding])
    try:
        expected = bridge.imgmsg_to_cv2(sent, 'rgb8')
    except (KeyError, RuntimeError, TypeError) as error:
        pytest.skip(f'this cv_bridge does not know {encoding}: {error}')
    found = image_from_message(sent, 'camera')
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_upside_down_is_turned_not_mirrored():
    turned = image_from_message(message('bgr8', STORED['bgr8']), 'camera', rotate_180=True)
    assert np.array_equal(turned, np.rot90(IMAGE, 2))


@pytest.mark.parametrize('name', ['RGB8', 'Bgr8', 'MONO8', 'UYVY'])
def test_a_driver_may_write_names_in_capitals(name):
    sent = message(name.lower(), STORED[name.lower()])
    expected = image_from_message(sent, 'camera')
    sent.encoding = name
    assert np.array_equal(image_from_message(sent, 'camera'), expected)


@pytest.mark.parametrize('name', UNNAMED)
def test_an_encoding_without_colours_is_refused_until_it_is_declared(name):
    channels, depth = UNNAMED[name]
    fitting = [
        e for e in DECLARABLE if (ENCODINGS[e].channels, ENCODINGS[e].depth) == (channels, depth)
    ]
    other = next(e for e in DECLARABLE if e not in fitting)
    for encoding in fitting:
        sent = message(encoding, STORED[encoding])
        expected = image_from_message(sent, 'camera')
        sent.encoding = name
        assert np.array_equal(image_from_message(sent, 'camera', declared=encoding), expected)
        for declared in ('', other):
            with pytest.raises(
                ObservationError, match=f"camera: image encoding '{name}'.*expected"
            ):
                image_from_message(sent, 'camera', declared=declared)


def test_an_image_that_says_otherwise_than_declared_is_refused():
    sent = message('rgb8', STORED['rgb8'])
    assert np.array_equal(image_from_message(sent, 'camera', declared='rgb8'), IMAGE)
    with pytest.raises(ObservationError, match=r"'rgb8', but `encoding`.*'bgr8'"):
        check_layout(sent, 'camera', 'bgr8')


@pytest.mark.parametrize('encoding', STORED)
@pytest.mark.parametrize('lost', [1, 100, None])
def test_too_few_bytes_are_refused(encoding, lost):
    sent = message(encoding, STORED[encoding])
    sent.data = sent.data[: -lost if lost else 0]
    with pytest.raises(ObservationError, match=f'camera: 64x48 {encoding} .* bytes, expected'):
        image_from_message(sent, 'camera')


@pytest.mark.parametrize(
    ('encoding', 'height', 'width'),
    [('yuyv', 48, 63), ('uyvy', 48, 63), ('nv12', 47, 64), ('nv21', 48, 63), ('rgb8', 0, 64)],
)
def test_sides_that_an_encoding_cannot_have_are_refused(encoding, height, width):
    sent = Image(height=height, width=width, encoding=encoding, step=256, data=b'\0' * 256 * 96)
    with pytest.raises(ObservationError, match=f'{width}x{height}'):
        image_from_message(sent, 'camera')


def test_sizes_are_checked_without_counting_beyond_the_data():
    sent = Image(height=2**32 - 1, width=2**32 - 1, encoding='nv12', step=2**32 - 1, data=b'12')
    with pytest.raises(ObservationError, match='holds 2 bytes'):
        image_from_message(sent, 'camera')


@pytest.mark.parametrize('encoding', ['32FC1', 'nv24', 'jpeg', 'rgb', '', 'yuv444'])
def test_an_unknown_encoding_is_refused_with_those_that_are_known(encoding):
    with pytest.raises(ObservationError, match=f"image encoding '{encoding}' is not supp.*rgb8"):
        check_layout(Image(height=4, width=4, encoding=encoding, step=64, data=b'0' * 256), 'c')


def file_of(kind, **options):
    buffer = io.BytesIO()
    Pillow.fromarray(IMAGE).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(('kind', 'options'), [('PNG', {}), ('WEBP', {'lossless': True})])
def test_a_lossless_compressed_image_is_the_image(kind, options):
    sent = CompressedImage(format=f'rgb8; {kind.lower()}', data=file_of(kind, **options))
    assert np.array_equal(image_from_message(sent, 'camera'), IMAGE)
    turned = image_from_message(sent, 'camera', rotate_180=True)
    assert np.array_equal(turned, IMAGE[::-1, ::-1])


def test_no_file_at_all_is_refused():
    for data in (b'', b'no jpeg'):
        with pytest.raises(ObservationError, match=r"camera: .*'jpeg'.*no known format"):
            image_from_message(CompressedImage(format='jpeg', data=data), 'camera')


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
def test_a_damaged_compressed_image_is_refused(kind):
    """An image with a lost part used to arrive with half of its pixels wrong."""
    whole = file_of(kind)
    rng = random.Random(4)
    for _ in range(20):
        start = rng.randrange(len(whole) // 3, len(whole) * 2 // 3)
        for data in (whole[:start], whole[:start] + whole[start + len(whole) // 5 :]):
            sent = CompressedImage(format=kind.lower(), data=data)
            with pytest.raises(ObservationError, match=f"camera: .*format '{kind.lower()}'"):
                image_from_message(sent, 'camera')


@pytest.mark.parametrize(
    ('kind', 'transport'),
    [
        ('h264', 'ffmpeg'),
        ('H.264', 'ffmpeg'),
        ('hevc', 'ffmpeg'),
        ('ffmpeg_image_transport_msgs/msg/FFMPEGPacket', 'ffmpeg'),
        ('foxglove_msgs/msg/CompressedVideo', 'foxglove'),
        ('theora_image_transport/msg/Packet', 'theora'),
    ],
)
def test_a_video_stream_names_the_republisher_that_helps(kind, transport):
    wanted = f'in_transport:={transport} .*-r in/{transport}:=cam/x -r out:=cam/x/raw'
    with pytest.raises(ObservationError, match=wanted):
        image_from_message(CompressedImage(format=kind, data=b'\0\0\0\1'), 'cam/x')
    for fine in ('jpeg', 'rgb8; jpeg compressed bgr8', 'png', 'sensor_msgs/msg/Image'):
        assert video_hint(fine, 'cam/x') == ''
