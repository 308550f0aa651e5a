# SPDX-License-Identifier: Apache-2.0
"""Thousands of malformed requests: each is refused with a reason, and costs the server nothing."""

import json
import random
import string

from counts import FULL
import httpx
import json_numpy
import msgpack
import msgpack_numpy
import numpy as np
import pytest
from websockets.sync.client import connect

pytest.importorskip('torch')

REQUESTS = 10_000 if FULL else 1_000
# Memory a server may gain over all of them, after the first fifth: allocators keep some.
GROWTH_MIB = 48.0
IMAGE = np.zeros((32, 32, 3), np.uint8)

PATHS = ('/etc/passwd', '../../x.png', 'file:///etc/passwd', 'http://127.0.0.1/', 'C:\\x.png', '')
DTYPES = (
    '|O',
    'O',
    '<f4',
    '<f8',
    '<i4',
    'c16',
    '<U9',
    'V9',
    'M8[s]',
    '',
    'u3',
    None,
    7,
    [['a', 'O']],
)
SHAPES = (
    [10**9, 10**9, 3], [2**31, 2**31, 2**31], [2**63, 1, 1], [-32, -32, 3], [32, 32], [32, 32, 4],
    [0, 32, 3], [], [1] * 64, 'x', None, [32.0, 32, 3], [[32], [32], [3]], 3072,
)  # fmt: skip
NUMBERS = (
    None, -1, 3, 10**6, 2**63, 10**30, 0.5, True, 'one', '1', [], [1], {}, float('nan'),
    float('inf'), '/etc/passwd',
)  # fmt: skip


def valid():
    return {
        'proprio': json_numpy.dumps(np.zeros(20)),
        'language_instruction': 'pick up the red block',
        'image0': json_numpy.dumps(IMAGE),
        'domain_id': 0,
        'steps': 1,
    }


def encoded(fields):
    return json.dumps(fields).encode()


def with_field(name, value):
    return encoded(valid() | {name: value})


def cut_short(rng):
    body = encoded(valid())
    return body[: rng.randrange(len(body))]


def control_character(rng):
    body = encoded(valid())
    where = rng.randrange(1, len(body))
    return body[:where] + bytes([rng.randrange(1, 9)]) + body[where:]


def not_text(rng):
    body = encoded(valid())
    where = rng.randrange(1, len(body))
    return body[:where] + b'\xff' + body[where:]


def noise(rng):
    return b'\x00' + rng.randbytes(rng.randrange(5000))


def nested(rng):
    mark, depth = rng.choice([b'[', b'{"a":']), rng.choice([1, 100, 10_000, 1_000_000])
    return mark * depth + rng.choice([b'', b'1', b']' * depth])


def other_json(rng):
    return encoded(rng.choice([None, True, 3, 'act', [], [valid()], {}, {'action': 1}]))


def field_missing(rng):
    fields = valid()
    del fields[rng.choice(['proprio', 'language_instruction', 'image0', 'domain_id'])]
    return encoded(fields)


def path_for_image(rng):
    value = rng.choice(PATHS)
    return with_field('image0', rng.choice([value, json.dumps(value), [value], {'path': value}]))


def sparse_cameras(rng):
    fields = valid()
    image = fields.pop('image0')
    keys = rng.choice(
        [['image1'], ['image2'], ['image0', 'image2'], ['image1', 'image2'], ['image7']]
    )
    return encoded(fields | dict.fromkeys(keys, image))


def wrong_array(rng, key=None):
    key = key or rng.choice(['dtype', 'shape', '__numpy__'])
    array = json.loads(json_numpy.dumps(IMAGE))
    data = array['__numpy__']
    choices = {
        'dtype': DTYPES,
        'shape': SHAPES,
        '__numpy__': (data[:-4], data + 'AAAA', '!' * len(data), '', None, 5, 'ü' * len(data)),
    }
    array[key] = rng.choice(choices[key])
    return with_field('image0', rng.choice([array, json.dumps(array)]))


def wrong_image(rng):
    arrays = (
        IMAGE.astype(rng.choice(['f4', 'f8', 'i4', 'i8', 'u2', 'i1'])), IMAGE[..., 0], IMAGE[None],
        np.frombuffer(rng.randbytes(rng.randrange(1, 4000)), np.uint8), IMAGE[:, :0],
    )  # fmt: skip
    return with_field('image0', json_numpy.dumps(rng.choice(arrays)))


def wrong_proprio(rng):
    bad = rng.choice([np.nan, np.inf, -np.inf, 1e30, 1e308])
    numbers = [0.0] * 20
    numbers[rng.randrange(20)] = bad
    length = rng.choice([0, 1, 7, 14, 19, 21, 40, 1000])
    value = rng.choice([numbers, [0.0] * length, [numbers] * 2, ['0'] * 20, [None] * 20, 'x', {}])
    return with_field('proprio', rng.choice([value, json_numpy.dumps(value)]))


def wrong_number(rng):
    name = rng.choice(['domain_id', 'steps'])
    bad = [v for v in NUMBERS if not (name == 'steps' and type(v) is int and v == 3)]
    return with_field(name, rng.choice(bad))


def wrong_instruction(rng):
    long = ''.join(rng.choices(string.printable, k=5000))
    return with_field(
        'language_instruction', rng.choice([None, 5, [], {}, '', ' \n', long, 'a\ud800', True])
    )


def wrong_extension(rng):
    name = rng.choice(
        ['noise', 'prefix', 'tolerance', 'warm_start', 'warm_start_time', 'image_color_order']
    )
    return with_field(name, rng.choice(['/etc/passwd', 5, {}, [[1.0]], [[float('nan')] * 20]]))


def large(rng):
    return rng.choice(
        [b'[' + b'1,' * 3_000_000 + b'1]', b'"' + b'A' * 4_000_000, b' ' * 4_000_000]
    )


MUTATIONS = (
    cut_short, control_character, not_text, noise, nested, other_json, field_missing,
    path_for_image, sparse_cameras, wrong_array, wrong_image, wrong_proprio, wrong_number,
    wrong_instruction, wrong_extension,
)  # fmt: skip


def body_of(rng):
    return (large if rng.random() < 0.01 else rng.choice(MUTATIONS))(rng)


def test_malformed_requests_are_refused_and_cost_nothing(server, record_property):
    rng = random.Random(20)
    statuses, resident, peak = {}, None, 0.0
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(REQUESTS):
            body = body_of(rng)
            response = client.post(rng.choice(['/act', '/infer']), content=body)
            assert 400 <= response.status_code < 500, (response.text, body[:300])
            assert response.json()['error'], body[:300]
            assert 'root:' not in response.text
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            if number == REQUESTS // 5:
                resident = server.resident_mib
            peak = max(peak, server.resident_mib if number % 50 == 0 else 0.0)
        health = client.get('/health').json()
    growth = server.resident_mib - resident
    record_property('memory', f'{resident:.0f} MiB {growth:+.1f}, peak {peak:.0f} MiB')
    assert health['status'] == 'ok'
    assert set(statuses) == {400, 413, 422}
    assert growth < GROWTH_MIB
    assert peak - resident < 4 * GROWTH_MIB


def wrong_message(rng):
    """Return a msgpack message that is no request."""
    fields = {
        'proprio': np.zeros(20), 'language_instruction': 'up', 'image0': IMAGE, 'domain_id': 0,
        'steps': 1,
    }  # fmt: skip
    array = msgpack_numpy.encode(IMAGE)
    replaced = {
        'image0': (
            '/etc/passwd', b'\xff\xd8', None, IMAGE.astype('f4'), array | {b'type': '|O'},
            array | {b'kind': b'O', b'type': '|O'}, array | {b'shape': [2**40, 2**40, 3]},
            array | {b'data': b''}, array | {b'data': 'text'}, {b'nd': True}, {b'complex': True},
        ),
        'proprio': (np.zeros(7), np.full(20, np.nan), 'x', None, np.zeros(20, complex), [[]] * 20),
        'domain_id': (-1, 3, 2**40, 1.0, 'a', np.float32(1), np.zeros(3, int)),
        'steps': (0, -1, 10**9, None),
        'image2': (IMAGE,),
        'language_instruction': (b'\xff', None, 3, ''),
    }  # fmt: skip
    name = rng.choice(list(replaced))
    fields[name] = rng.choice(replaced[name])
    message = msgpack.packb(fields, default=msgpack_numpy.encode, use_bin_type=True)
    kind = rng.random()
    if kind < 0.15:
        return message[: rng.randrange(len(message))]
    return rng.randbytes(rng.randrange(1, 2000)) if kind < 0.25 else message


def test_malformed_messages_are_refused_over_one_connection(server):
    rng = random.Random(21)
    with connect(f'{server.socket_url}/act', max_size=None) as client:
        client.recv()
        for _ in range(REQUESTS):
            message = wrong_message(rng)
            client.send(message)
            answer = msgpack.unpackb(client.recv(), raw=False)
            assert 400 <= answer['status'] < 500, (answer, message[:300])
            assert answer['error']
    assert httpx.get(f'{server.url}/health', timeout=60).json()['status'] == 'ok'
