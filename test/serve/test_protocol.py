# SPDX-License-Identifier: Apache-2.0
"""What a request may say, and what it is told when it says something else."""

import json
import pickle
import struct
import zlib

import cv2
import json_numpy
import msgpack
import msgpack_numpy
import numpy as np
import pytest

from xvla_ros.serve.arrays import json_numpy_literal
from xvla_ros.serve.encoded_images import encode_jpeg
from xvla_ros.serve.protocol import (
    action_json,
    action_msgpack,
    parse_json,
    parse_msgpack,
)
from xvla_ros.serve.requests import Contract, Limits, RequestError

CONTRACT = Contract(
    checkpoint='test',
    action_mode='ee6d',
    cameras=3,
    domains=30,
    dim_proprio=20,
    num_actions=30,
    dim_action=20,
    dim_noise=20,
)
LIMITS = Limits()
IMAGE = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)


def v1(**changes):
    """Return a v1 body; a change to None removes the field."""
    fields = {
        'proprio': json_numpy.dumps(np.arange(20.0)),
        'language_instruction': 'pick up the red block',
        'image0': json_numpy.dumps(IMAGE),
        'domain_id': 5,
        'steps': 10,
    } | changes
    return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()


def v2(**changes):
    fields = {
        'proprio': np.arange(20.0),
        'language_instruction': 'pick up the red block',
        'image0': IMAGE,
        'domain_id': 5,
    } | changes
    fields = {k: v for k, v in fields.items() if v is not None}
    return msgpack.packb(fields, default=msgpack_numpy.encode, use_bin_type=True)


def read(body):
    return parse_json(body, CONTRACT, LIMITS)


def refusal(body, parse=parse_json):
    with pytest.raises(RequestError) as error:
        parse(body, CONTRACT, LIMITS)
    return error.value


def test_v1_request_is_read_as_the_reference_clients_send_it():
    request = read(v1(image1=json_numpy.dumps(IMAGE[::-1]), image2=json_numpy.dumps(IMAGE[:4])))
    assert [image.shape for image in request.images] == [(8, 10, 3), (8, 10, 3), (4, 10, 3)]
    np.testing.assert_array_equal(request.images[0], IMAGE)
    np.testing.assert_array_equal(request.images[1], IMAGE[::-1])
    np.testing.assert_array_equal(request.proprio, np.arange(20, dtype=np.float32))
    assert (request.domain_id, request.steps) == (5, 10)
    assert request.proprio.dtype == np.float32
    assert request.noise is request.prefix is request.tolerance is None


@pytest.mark.parametrize(
    'proprio',
    [
        json_numpy.dumps(np.zeros(20).tolist()),  # CALVIN
        json_numpy.dumps(np.zeros(20, np.float32)),  # VLABench
        json_numpy.dumps(np.zeros((1, 20))),
        json_numpy.dumps(np.zeros(20, int)),
        [0.0] * 20,
        [0] * 20,
    ],
)
def test_proprio_comes_in_every_form_the_clients_use(proprio):
    np.testing.assert_array_equal(read(v1(proprio=proprio)).proprio, np.zeros(20, np.float32))


def test_arrays_may_be_json_numpy_objects_as_a_patched_json_module_writes_them():
    fields = json.loads(v1())
    fields['image0'], fields['proprio'] = IMAGE, np.zeros(20)
    request = read(json_numpy.dumps(fields).encode())
    np.testing.assert_array_equal(request.images[0], IMAGE)


@pytest.mark.parametrize('array', [IMAGE, np.zeros(20), np.zeros((0, 2), int)])
def test_our_client_writes_what_json_numpy_writes(array):
    assert json_numpy_literal(array) == json.dumps(json_numpy.dumps(array))


def test_an_image_may_be_a_list():
    np.testing.assert_array_equal(
        read(v1(image0=json_numpy.dumps(IMAGE.tolist()))).images[0], IMAGE
    )


def test_v2_request_is_read_with_its_own_defaults():
    request = parse_msgpack(v2(domain_id=None), CONTRACT, LIMITS)
    assert (request.domain_id, request.steps) == (0, 10)
    np.testing.assert_array_equal(request.images[0], IMAGE)
    assert parse_msgpack(v2(domain_id=np.int64(7)), CONTRACT, LIMITS).domain_id == 7
    # The ARX client of the v2 branch calls the field `domain`.
    assert parse_msgpack(v2(domain_id=None, domain=3), CONTRACT, LIMITS).domain_id == 3


def test_a_strided_array_arrives_as_it_is_seen():
    request = parse_msgpack(v2(image0=IMAGE[:, ::-1]), CONTRACT, LIMITS)
    np.testing.assert_array_equal(request.images[0], IMAGE[:, ::-1])


def test_extensions_are_read():
    noise, prefix = np.ones((30, 20)), np.full((4, 20), 0.5)
    request = read(
        v1(noise=json_numpy.dumps(noise), prefix=json_numpy.dumps(prefix), tolerance=[1.0, 0.5])
    )
    assert request.noise.shape == (30, 20)
    assert request.prefix.shape == (4, 20)
    assert request.tolerance == (1.0, 0.5)
    assert request.warm_start is None


@pytest.mark.parametrize('time', [0.1, json.loads(json_numpy.dumps(np.array(0.1))), 1])
def test_a_warm_start_is_read_with_its_time(time):
    plan = np.full((30, 20), 0.5)
    start = read(v1(warm_start=json_numpy.dumps(plan), warm_start_time=time)).warm_start
    np.testing.assert_array_equal(start.plan, plan.astype(np.float32))
    assert start.time == pytest.approx(1.0 if time == 1 else 0.1)


def test_a_warm_start_without_a_plan_is_one():
    start = read(v1(warm_start_time=0.1)).warm_start
    assert (start.plan, start.time) == (None, 0.1)


PLAN = json_numpy.dumps(np.zeros((30, 20)))


@pytest.mark.parametrize(('parse', 'body'), [(parse_json, v1), (parse_msgpack, v2)])
def test_a_robot_may_say_how_long_its_plan_lasts_and_how_few_steps_it_allows(parse, body):
    silent = parse(body(), CONTRACT, LIMITS)
    assert silent.slack_s is silent.least_steps is None
    told = parse(body(slack_s=0.5, steps=10, least_steps=3), CONTRACT, LIMITS)
    assert (told.slack_s, told.steps, told.least_steps) == (0.5, 10, 3)
    for wrong in (0, 11, 2.0, True, 'few'):
        error = refusal(body(steps=10, least_steps=wrong), parse)
        assert 'least_steps: is' in str(error)
        assert 'from 1 to 10' in str(error)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'warm_start': PLAN}, 'warm_start_time: missing'),
        ({'warm_start_time': 0.0}, 'warm_start_time: is 0'),
        ({'warm_start': json_numpy.dumps(np.zeros((29, 20)))}, 'warm_start: has shape [29, 20]'),
        ({'warm_start': PLAN, 'warm_start_time': 0.0}, 'warm_start_time: is 0'),
        ({'warm_start': PLAN, 'warm_start_time': 1.5}, 'warm_start_time: is 1.5'),
        ({'warm_start': PLAN, 'warm_start_time': True}, 'warm_start_time: is True'),
        ({'warm_start': PLAN, 'warm_start_time': '0.5'}, "warm_start_time: is '0.5'"),
        ({'warm_start': PLAN, 'warm_start_time': 10**400}, 'warm_start_time: is 1000'),
        ({'warm_start': PLAN, 'warm_start_time': float('nan')}, 'warm_start_time'),
        ({'warm_start': PLAN, 'warm_start_time': [0.1]}, 'warm_start_time: is list'),
    ],
)
def test_a_wrong_warm_start_is_refused(fields, words):
    assert words in str(refusal(v1(**fields)))


@pytest.mark.parametrize('version', ['v1', 'v2'])
def test_encoded_images_keep_their_colours_as_each_generation_decodes_them(version):
    """Red stays red: v1 clients encode RGB unswapped, v2 servers read true colours."""
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[..., 0], rgb[:16, :, 1] = 220, 60
    array = rgb if version == 'v1' else rgb[..., ::-1]
    for extension in ('.png', '.jpg'):
        encoded = cv2.imencode(extension, np.ascontiguousarray(array))[1]
        if version == 'v1':
            image = read(v1(image0=json_numpy.dumps(encoded))).images[0]
            reference = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        else:
            image = parse_msgpack(v2(image0=encoded.ravel()), CONTRACT, LIMITS).images[0]
            reference = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(image.astype(int) - reference).max() <= (0 if extension == '.png' else 2)
        assert np.abs(image.astype(int) - rgb).max() <= (0 if extension == '.png' else 12)


@pytest.mark.parametrize(('order', 'channel'), [('rgb', 2), ('bgr', 0)])
def test_the_colour_order_can_be_said(order, channel):
    """An image whose true colour is red: order `rgb` says it had been swapped by its encoder."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 200  # OpenCV's red
    encoded = cv2.imencode('.png', red)[1].ravel()
    for image in (
        read(v1(image0=json_numpy.dumps(encoded), image_color_order=order)).images[0],
        parse_msgpack(v2(image0=encoded, image_color_order=order), CONTRACT, LIMITS).images[0],
    ):
        assert image[0, 0].argmax() == channel


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_our_own_jpegs_are_read_back_in_both_orders(order):
    image = np.full((16, 24, 3), (200, 90, 20), np.uint8)
    encoded = json_numpy.dumps(encode_jpeg(image, order, 95))
    back = read(v1(image0=encoded, image_color_order=order)).images[0]
    assert np.abs(back.astype(int) - image).max() <= 6


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.webp'])
def test_an_encoded_image_with_a_lost_part_is_refused_by_name(extension):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = cv2.imencode(extension, image)[1].ravel()
    half, fifth = len(whole) // 2, len(whole) // 5
    for array in (whole[:half], np.concatenate([whole[:half], whole[half + fifth :]])):
        error = refusal(v1(image0=json_numpy.dumps(array)))
        assert error.status == 422
        assert str(error).startswith(f'image0: {len(array)} bytes are not a readable image')


def test_grey_and_transparent_images_become_rgb():
    for shape in ((8, 8), (8, 8, 4)):
        encoded = cv2.imencode('.png', np.full(shape, 100, np.uint8))[1]
        assert read(v1(image0=json_numpy.dumps(encoded))).images[0].shape == (8, 8, 3)


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('image0', '/etc/passwd', 'never opened'),
        ('image0', '"/etc/passwd"', 'never opened'),
        ('image0', 'file:///etc/passwd', 'never opened'),
        ('image0', None, 'missing'),
        ('image0', 5, 'expected an array'),
        ('image0', True, 'expected an array'),
        ('image0', {}, '__numpy__'),
        ('image0', json_numpy.dumps(IMAGE.astype(np.float32)), 'expected uint8'),
        ('image0', json_numpy.dumps(IMAGE.astype(np.int64)), 'expected uint8'),
        ('image0', json_numpy.dumps(IMAGE[..., 0]), 'expected (height, width, 3)'),
        ('image0', json_numpy.dumps(IMAGE[..., :2]), 'expected (height, width, 3)'),
        ('image0', json_numpy.dumps(IMAGE[:0]), 'expected (height, width, 3)'),
        ('image0', json_numpy.dumps(np.zeros(100, np.uint8)), 'not a readable image'),
        ('image0', [[[300, 0, 0]]], 'outside 0 to 255'),
        ('image0', [[1, 2], [3]], 'not a regular list'),
        ('image0', [['a']], 'expected numbers'),
        ('image3', json_numpy.dumps(IMAGE), 'no such camera'),
        ('image', json_numpy.dumps(IMAGE), 'no such camera'),
        ('image2', json_numpy.dumps(IMAGE), 'image1: missing'),
        ('image_color_order', 'gbr', 'expected "rgb" or "bgr"'),
        ('image_color_order', ['rgb'], 'expected "rgb" or "bgr"'),
        ('proprio', None, 'missing'),
        ('proprio', json_numpy.dumps(np.zeros(7)), 'has shape [7]'),
        ('proprio', json_numpy.dumps(np.zeros((20, 1))), 'has shape [20, 1]'),
        ('proprio', json_numpy.dumps(np.full(20, np.nan)), 'finite'),
        ('proprio', [float('inf')] * 20, 'finite'),
        ('proprio', [1e300] * 20, 'finite'),
        ('proprio', [10**400] * 20, 'expected'),
        ('proprio', 'ready', 'holds no array'),
        ('proprio', 'true', 'expected an array'),
        ('domain_id', None, 'domain_id: missing'),
        ('domain_id', 30, '0 to 29'),
        ('domain_id', -1, '0 to 29'),
        ('domain_id', 1.0, '0 to 29'),
        ('domain_id', True, '0 to 29'),
        ('domain_id', '5', '0 to 29'),
        ('domain_id', [5], '0 to 29'),
        ('steps', 0, '1 to 100'),
        ('steps', 10**9, '1 to 100'),
        ('steps', 2.5, '1 to 100'),
        ('language_instruction', None, 'expected text'),
        ('language_instruction', '  ', 'expected text'),
        ('language_instruction', 7, 'expected text'),
        ('language_instruction', 'x' * 5000, '5000 characters'),
        ('language_instruction', 'red \ud800 block', 'surrogate'),
        ('noise', json_numpy.dumps(np.zeros((30, 19))), 'has shape [30, 19]'),
        ('prefix', json_numpy.dumps(np.zeros((30, 20))), 'fewer than 30 rows'),
        ('prefix', json_numpy.dumps(np.zeros(20)), 'fewer than 30 rows'),
        ('tolerance', [-1.0, 0.0], 'negative'),
        ('tolerance', 1.0, 'expected an array'),
    ],
)
def test_a_wrong_field_is_refused_by_name(field, value, words):
    error = refusal(v1(**{field: value}))
    assert error.status == 422
    assert words in str(error)


def wire(**changes):
    return {'__numpy__': '', 'dtype': '|u1', 'shape': [8, 8, 3]} | changes


@pytest.mark.parametrize(
    ('array', 'words'),
    [
        (wire(), '0 characters, but dtype and shape need 256'),
        (wire(__numpy__='!' * 256), '0 bytes of data'),
        (wire(__numpy__='AAA!' * 64), 'bytes of data'),
        (wire(__numpy__='AAA=' * 64), 'bytes of data'),
        (wire(__numpy__='A' * 255 + '='), 'bytes of data'),
        (wire(__numpy__='é' * 256), 'not base64'),
        (wire(__numpy__=[1, 2]), 'list'),
        (wire(shape=[10**9, 10**9, 10**9]), 'shape'),
        (wire(shape=[2**31, 2**31, 3]), 'need'),
        (wire(shape=[-8, -8, 3]), 'shape'),
        (wire(shape=[8.0, 8, 3]), 'shape'),
        (wire(shape=[True, True, 3]), 'shape'),
        (wire(shape='8'), 'shape'),
        (wire(shape=[1] * 70), 'shape'),
        (wire(shape=None), 'shape'),
        (wire(dtype='|O'), 'dtype'),
        (wire(dtype='O'), 'dtype'),
        (wire(dtype='<U1000000'), 'dtype'),
        (wire(dtype='V1000000000'), 'dtype'),
        (wire(dtype=[['a', '|O']]), 'dtype'),
        (wire(dtype='f1'), 'dtype'),
        (wire(dtype=None), 'dtype'),
        (wire(dtype='u1,u1'), 'dtype'),
    ],
)
def test_a_wrong_array_is_refused_before_memory_is_taken(array, words):
    for value in (array, json.dumps(array)):
        error = refusal(v1(image0=value))
        assert error.status == 422
        assert words in str(error)


@pytest.mark.parametrize(
    ('body', 'status'),
    [
        (b'', 400),
        (b'{', 400),
        (b'\xff\xfe', 400),
        (v1()[:-20], 400),
        (b'null', 422),
        (b'[]', 422),
        (b'"act"', 422),
        (b'1', 422),
        (b'[' * 100_000, 400),
        (b'[' * 10_000_000, 413),
        (b'[' + b'0,' * 3_000_000 + b'0]', 413),
        (b'1' * 10_000, 400),
    ],
)
def test_a_body_that_is_no_request_is_refused(body, status):
    assert refusal(body).status == status


def test_brackets_hidden_in_a_string_are_counted_too():
    body = v1().replace(b'"image0": "', b'"image0": "' + b'\\u005b' * 1_000_000)
    assert refusal(body).status == 413


@pytest.mark.parametrize(
    ('message', 'status'),
    [
        (b'', 400),
        (b'\xc1', 400),
        (v2()[:-5], 400),
        (v2() + b'\x00', 400),
        (msgpack.packb([1]), 422),
        (msgpack.packb(msgpack.ExtType(5, b'x')), 400),
        (b'\xdd\xff\xff\xff\xff', 400),
        (b'\xc6\xff\xff\xff\xff', 400),
        (b'\x91' * 100_000, 400),
        (b'\xdd' + struct.pack('>I', 1_000_000) + b'\x90' * 1_000_000, 413),
        (b'\xdd' + struct.pack('>I', 1_000_000) + b'\x80' * 1_000_000, 413),
        (msgpack.packb({1: 2}), 400),
        (b'\xdd' + struct.pack('>I', 2_000_001) + b'\xc0' * 2_000_001, 400),
        (msgpack.packb([[None] * 1_200_000] * 2), 413),
        (v2(**{f'extra{i}': 0 for i in range(65)}), 400),
        (v2(proprio={b'nd': True, b'\xff': 1}), 422),
    ],
)
def test_a_message_that_is_no_request_is_refused(message, status):
    assert refusal(message, parse_msgpack).status == status


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Say what unpickling would call."""
        return open, (str(self.path), 'w')


def test_pickled_arrays_are_never_unpickled(tmp_path):
    """msgpack_numpy's own decoder runs pickle.loads on arrays of kind O."""
    trap = {
        b'nd': True, b'type': '|O', b'kind': b'O', b'shape': [1],
        b'data': pickle.dumps(Trap(tmp_path / 'opened')),
    }  # fmt: skip
    assert 'dtype' in str(refusal(v2(image0=trap), parse_msgpack))
    assert not (tmp_path / 'opened').exists()


def png_header(width, height):
    """Return a valid PNG of one bit of data that claims a size."""

    def chunk(kind, data):
        check = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + check

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = (b'IHDR', header), (b'IDAT', zlib.compress(b'\0' * 100)), (b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


def test_a_small_file_that_unfolds_into_a_huge_image_is_refused():
    for size, status in ((6000, 413), (60_000, 422), (2**31 - 1, 422)):
        data = np.frombuffer(png_header(size, size), np.uint8)
        assert refusal(v1(image0=json_numpy.dumps(data))).status in (413, status)


def test_an_image_cut_short_is_refused():
    encoded = cv2.imencode('.jpg', np.zeros((64, 64, 3), np.uint8))[1].ravel()
    for length in (3, 20, len(encoded) // 2):
        assert refusal(v1(image0=json_numpy.dumps(encoded[:length]))).status == 422


def test_sixteen_bit_images_are_refused_instead_of_cut():
    encoded = cv2.imencode('.png', np.zeros((8, 8), np.uint16))[1]
    assert 'colour mode' in str(refusal(v1(image0=json_numpy.dumps(encoded))))


def test_answers_are_what_the_reference_clients_unpack():
    actions = np.arange(60, dtype=np.float32).reshape(3, 20)
    assert np.array(json.loads(action_json(actions))['action']).shape == (3, 20)
    unpacked = msgpack.unpackb(action_msgpack(actions), object_hook=msgpack_numpy.decode)
    np.testing.assert_array_equal(unpacked['action'], actions)
    assert unpacked['action'].dtype == np.float32
