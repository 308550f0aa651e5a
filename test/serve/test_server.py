# SPDX-License-Identifier: Apache-2.0
"""A served checkpoint as its clients see it, over real sockets."""

from concurrent.futures import ThreadPoolExecutor
import http.client
import json
import os
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import json_numpy
import msgpack
import msgpack_numpy
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from xvla_ros.core.errors import CheckpointError, InferenceError, XvlaError
from xvla_ros.serve.client import RemotePredictor
from xvla_ros.serve.server import serve, ServerSettings

pytest.importorskip('torch')
ADDRESS = re.compile(r'http://127\.0\.0\.1:(\d+)')


def expected(policy, observation):
    return policy.predict(**observation)


def test_health_says_what_is_served(server):
    health = httpx.get(f'{server.url}/health', timeout=30).json()
    assert health['status'] == 'ok'
    assert health['domains'] == [0, 1, 2]
    assert health['trained_domains'] == [0, 1, 2]
    assert health['cameras'] == ['image0', 'image1', 'image2']
    assert (health['num_actions'], health['dim_action'], health['dim_proprio']) == (6, 20, 20)


@pytest.mark.parametrize('path', ['/act', '/infer'])
def test_a_v1_client_gets_the_policys_actions(server, policy, observation, body, path):
    """The request of calvin_client.py: json_numpy strings in a JSON body, `action` as lists."""
    response = httpx.post(server.url + path, json=body, timeout=30)
    response.raise_for_status()
    actions = np.array(response.json()['action'])
    np.testing.assert_allclose(actions, expected(policy, observation), atol=2e-5)


def test_a_client_of_the_standard_library_gets_an_answer(server, observation, v1_body):
    """No client package: the documented wire format alone."""
    fields = v1_body(**observation | {'noise': None, 'proprio': observation['proprio'].tolist()})
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=30)
    for _ in range(2):  # over one connection
        connection.request('POST', '/act', json.dumps(fields))
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.loads(answer.read())['action']) == 6
    connection.close()


def test_a_v2_client_gets_the_policys_actions(server, policy, observation):
    """The exchange of websocket_client.py: a welcome, then msgpack_numpy both ways."""
    payload = {f'image{i}': image for i, image in enumerate(observation['images'])}
    payload |= {k: observation[k] for k in ('proprio', 'domain_id', 'steps', 'noise')}
    payload['language_instruction'] = observation['instruction']
    message = msgpack.packb(payload, default=msgpack_numpy.encode, use_bin_type=True)
    with connect(f'{server.socket_url}/act', max_size=None) as client:
        welcome = msgpack.unpackb(client.recv(), raw=False)
        assert welcome['type'] == 'welcome'
        assert welcome['ok'] is True
        assert welcome['cameras'] == ['image0', 'image1', 'image2']
        for _ in range(2):
            client.send(message)
            answer = msgpack.unpackb(client.recv(), object_hook=msgpack_numpy.decode, raw=False)
            np.testing.assert_allclose(answer['action'], expected(policy, observation), atol=2e-5)


def test_a_v2_client_is_told_what_is_wrong_and_stays_connected(server, observation):
    with connect(f'{server.socket_url}/act') as client:
        client.recv()
        for message in (b'\xc1', 'text', msgpack.packb({'image0': '/etc/passwd'})):
            client.send(message)
            answer = msgpack.unpackb(client.recv(), raw=False)
            assert 400 <= answer['status'] < 500
            assert answer['error']


def test_messages_sent_ahead_are_answered_in_order(server, observation):
    with connect(f'{server.socket_url}/act') as client:
        client.recv()
        for steps in (0, 101, 0):
            payload = {'language_instruction': 'up', 'proprio': [0.0] * 20, 'steps': steps}
            client.send(msgpack.packb(payload))
        answers = [msgpack.unpackb(client.recv(), raw=False)['error'] for _ in range(3)]
    assert [answer.split(',')[0] for answer in answers] == [
        'steps: is 0',
        'steps: is 101',
        'steps: is 0',
    ]


def test_clients_at_the_same_time_get_their_own_answers(server, policy, observation, v1_body):
    random = np.random.default_rng(5)
    asked = [
        observation
        | {
            'noise': random.normal(size=(6, 20)).astype(np.float32),
            'domain_id': i % 3,
            'steps': 4 + i % 2,
        }
        for i in range(12)
    ]

    def ask(one):
        response = httpx.post(f'{server.url}/act', json=v1_body(**one), timeout=60)
        return np.array(response.raise_for_status().json()['action'])

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, asked))
    for one, answer in zip(asked, answers, strict=True):
        np.testing.assert_allclose(answer, expected(policy, one), atol=2e-5)


def test_a_client_that_leaves_frees_its_place(server, body):
    data = json.dumps(body).encode()
    for _ in range(40):  # more than may wait
        with socket.create_connection(('127.0.0.1', server.port)) as client:
            head = f'POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n'
            client.sendall(head.encode() + data)
    deadline = time.monotonic() + 60  # until the server has noticed that they left
    while httpx.post(f'{server.url}/act', json=body, timeout=60).status_code != 200:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(('method', 'path'), [('GET', '/'), ('GET', '/act'), ('POST', '/predict')])
def test_a_wrong_address_is_answered_with_the_right_ones(server, method, path):
    response = httpx.request(method, server.url + path, timeout=30)
    assert response.status_code in (404, 405)
    assert 'POST /act' in response.json()['error']


def test_a_body_too_large_is_refused_also_without_a_length(server):
    def chunks():
        for _ in range(40):
            yield bytes(2**20)

    for content in (bytes(40 * 2**20), chunks()):
        response = httpx.post(f'{server.url}/act', content=content, timeout=60)
        assert response.status_code == 413
        assert 'bytes' in response.json()['error']


@pytest.fixture(scope='module')
def guarded(checkpoint, tmp_path_factory, start_server):
    folder = tmp_path_factory.mktemp('guarded')
    (folder / 'token').write_text('sesame\n')
    running = start_server(checkpoint, folder, '--token-file', 'token')
    yield running
    running.stop()


@pytest.mark.parametrize('header', [None, 'sesame', 'Bearer sesam', 'Bearer sesame2', 'Basic x'])
def test_without_the_token_nothing_is_answered(guarded, body, header):
    headers = {} if header is None else {'Authorization': header}
    for response in (
        httpx.get(f'{guarded.url}/health', headers=headers, timeout=30),
        httpx.post(f'{guarded.url}/act', json=body, headers=headers, timeout=30),
    ):
        assert response.status_code == 401
        assert response.headers['WWW-Authenticate'] == 'Bearer'
        assert 'Authorization' in response.json()['error']
    with pytest.raises(InvalidStatus) as error:
        connect(f'{guarded.socket_url}/act', additional_headers=headers)
    assert error.value.response.status_code == 401


@pytest.mark.parametrize('scheme', ['http', 'ws'])
def test_a_client_without_the_token_is_told_that_it_needs_one(guarded, observation, scheme):
    address = f'{scheme}://127.0.0.1:{guarded.port}'
    refusal = 'refused with status 401: not authorised'
    with RemotePredictor(address, 10.0) as remote, pytest.raises(InferenceError, match=refusal):
        remote.predict(**observation)


def test_with_the_token_everything_is_answered(guarded, body):
    headers = {'Authorization': 'Bearer sesame'}
    health = httpx.get(f'{guarded.url}/health', headers=headers, timeout=30)
    assert health.json()['status'] == 'ok'
    answer = httpx.post(f'{guarded.url}/act', json=body, headers=headers, timeout=30)
    assert answer.status_code == 200
    with connect(f'{guarded.socket_url}/act', additional_headers=headers) as client:
        assert msgpack.unpackb(client.recv())['ok']


def test_a_slurm_job_tells_where_it_is_and_tidies_up(checkpoint, tmp_path, start_server):
    job = {'SLURM_JOB_ID': '77', 'SLURM_JOB_NODELIST': 'gpu-[08-09]', 'SLURMD_NODENAME': 'gpu-08'}
    running = start_server(checkpoint, tmp_path, '--slurm', '--output-dir', 'run', environment=job)
    info = tmp_path / 'run' / 'info.json'
    assert json.loads(info.read_text()) == {
        'host': 'gpu-08',
        'port': running.port,
        'job_id': '77',
        'node_list': ['gpu-08', 'gpu-09'],
    }
    assert 'only this node can reach' in running.log.read_text()
    assert running.stop() == 0
    assert not info.exists()


def test_what_is_wrong_is_said_before_the_model_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info, token = Path('logs/info.json'), Path('token')
    info.parent.mkdir()
    info.write_text('{}')
    token.write_text('two words')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        assert 'cannot listen' in failure(port=taken.getsockname()[1])
    for name in [name for name in os.environ if name.startswith('SLURM')]:
        monkeypatch.delenv(name)
    assert 'no SLURM job' in failure(slurm=True)
    monkeypatch.setenv('SLURM_JOB_ID', '1')
    assert 'exists' in failure(slurm=True)
    assert info.read_text() == '{}'
    assert 'one word' in failure(token_file=token)
    assert 'nothing' in failure()
    assert 'batch is 0' in failure(batch=0)
    assert 'cannot listen' in failure(port=70_000)


def failure(**settings):
    """Return what is said of settings with which nothing can be served."""
    with pytest.raises(XvlaError) as error:
        serve(ServerSettings(checkpoint=Path('nothing'), **{'port': 0} | settings))
    return str(error.value)


def test_interrupting_ends_the_server_cleanly(checkpoint, tmp_path, start_server, body):
    running = start_server(checkpoint, tmp_path)
    assert httpx.post(f'{running.url}/act', json=body, timeout=30).status_code == 200
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(90) == 0
    assert 'Traceback' not in running.log.read_text()


def test_the_request_of_the_authors_readme_is_refused_with_the_reason(server):
    """Its seven zeros never fitted the network; their server said `Request failed`."""
    fields = {
        'proprio': json_numpy.dumps(np.zeros(7, np.float32)),
        'language_instruction': 'Move the gripper to the target position',
        'image0': json_numpy.dumps(np.zeros((256, 256, 3), np.uint8)),
        'domain_id': 0,
        'steps': 10,
    }
    response = httpx.post(f'{server.url}/act', json=fields, timeout=30)
    assert response.status_code == 422
    assert response.json()['error'] == 'proprio: has shape [7], expected [20]'


def test_a_device_that_is_not_there_is_refused_before_the_weights_are_read(checkpoint):
    for device in ('cuda:99', 'tpu-of-mine'):
        with pytest.raises(CheckpointError, match=device):
            serve(ServerSettings(checkpoint=checkpoint, port=0, device=device))


def test_senders_of_half_a_request_do_not_take_all_places(checkpoint, body):
    """A slow loris: more connections than the server has places send headers that never end."""
    code = (
        'import sys; from pathlib import Path; import xvla_ros.serve.patience as patience; '
        'patience.HEADERS_S = 1.0; from xvla_ros.serve.server import serve, ServerSettings; '
        'import logging; logging.basicConfig(level=logging.INFO, format="%(message)s"); '
        'serve(ServerSettings(checkpoint=Path(sys.argv[1]), port=0))'
    )
    command = [sys.executable, '-c', code, str(checkpoint)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = next(int(m[1]) for line in process.stderr if (m := ADDRESS.search(line)))
            lorises = [socket.create_connection(('127.0.0.1', port)) for _ in range(70)]
            for each in lorises:
                each.sendall(b'POST /act HTTP/1.1\r\nHost: a\r\nX-Slow: ')
            assert all(each.recv(1) == b'' for each in lorises), 'a slow sender was not closed'
            answer = httpx.post(f'http://127.0.0.1:{port}/act', json=body, timeout=60)
            assert answer.status_code == 200
        finally:
            process.terminate()
