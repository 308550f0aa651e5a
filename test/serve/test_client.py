# SPDX-License-Identifier: Apache-2.0
"""The remote predictor: the answers of a local policy, and errors in time when there are none."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import json_numpy
import msgpack
import msgpack_numpy
import numpy as np
import pytest
from websockets.sync.server import serve as serve_websocket

from xvla_ros.core.errors import InferenceError
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.serve.client import RemotePredictor

VERSIONS = ('http', 'ws')
DEFAULT_S = 5.0  # what a call may take where nothing is said


@pytest.fixture
def port():
    """Keep a port for who asks for it by its number; nobody listens, nobody else is given it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(('127.0.0.1', 0))
        yield holder.getsockname()[1]


def url_of(server, version):
    return f'{version}://127.0.0.1:{server.port}'


def test_importing_the_client_imports_no_torch_and_no_server():
    probe = (
        'import sys, xvla_ros.serve.client; '
        'sys.exit(bool({"torch", "fastapi", "uvicorn", "rclpy"} & set(sys.modules)))'
    )
    assert subprocess.run([sys.executable, '-c', probe], timeout=60).returncode == 0


@pytest.mark.parametrize('version', VERSIONS)
def test_a_remote_policy_answers_as_a_local_one(server, policy, observation, version):
    with RemotePredictor(url_of(server, version), timeout_s=30.0, num_views=2) as remote:
        for _ in range(2):
            actions = remote.predict(**observation)
            assert actions.shape == (6, 20)
            assert actions.dtype == np.float32
            np.testing.assert_allclose(actions, policy.predict(**observation), atol=2e-5)
        assert remote.left_out == ()
        assert remote.metadata['cameras'] == ['image0', 'image1', 'image2']


@pytest.mark.parametrize('version', VERSIONS)
def test_a_prefix_is_continued(server, policy, observation, version):
    committed = policy.predict(**observation)[:2]
    with RemotePredictor(url_of(server, version), timeout_s=30.0) as remote:
        assert not remote.supports_prefix
        remote.connect()
        assert remote.supports_prefix
        assert remote.supports_noise
        actions = remote.predict(**observation, prefix=committed, tolerance=(1.0, 1.0))
    np.testing.assert_allclose(actions[:2], committed, atol=1e-6)


@pytest.mark.parametrize('planned', [True, False])
@pytest.mark.parametrize('version', VERSIONS)
def test_a_warm_start_arrives_as_it_does_here(server, policy, observation, version, planned):
    plan = policy.predict(**observation) if planned else None
    start = WarmStart(plan=plan, time=0.1)
    asked = observation | {'warm_start': start, 'steps': 1}
    with RemotePredictor(url_of(server, version), timeout_s=30.0) as remote:
        actions = remote.predict(**asked)
    np.testing.assert_allclose(actions, policy.predict(**asked), atol=2e-5)


@pytest.mark.parametrize('version', VERSIONS)
def test_jpeg_views_keep_their_colours(server, policy, observation, version):
    """Smooth images survive JPEG; the answer to swapped channels would be another one."""
    shades = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(
        [np.broadcast_to(row, (48, 64)) for row in (shades, shades // 3, shades // 9)]
    )
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    observation |= {'images': [image]}
    with RemotePredictor(url_of(server, version), timeout_s=30.0, jpeg_quality=98) as remote:
        actions = remote.predict(**observation)
    right = policy.predict(**observation)
    swapped = policy.predict(**observation | {'images': [image[..., ::-1].copy()]})
    assert np.abs(actions - right).max() < 0.1 * np.abs(swapped - right).max()


@pytest.mark.parametrize('version', VERSIONS)
def test_a_refusal_carries_the_servers_reason_and_the_next_request_works(
    server, observation, version
):
    with RemotePredictor(url_of(server, version), timeout_s=30.0) as remote:
        with pytest.raises(InferenceError, match=r'domain_id: is 99, expected .* 0 to 2'):
            remote.predict(**observation | {'domain_id': 99})
        assert remote.predict(**observation).shape == (6, 20)


def test_views_are_checked_against_the_server_before_the_first_request(server):
    with (
        RemotePredictor(server.url, num_views=4) as remote,
        pytest.raises(InferenceError, match='3 view slots, 4 views'),
    ):
        remote.connect()


def test_a_request_with_a_view_missing_is_not_sent(server, observation):
    with (
        RemotePredictor(server.url, num_views=3) as remote,
        pytest.raises(InferenceError, match='got 2 views, expected 3'),
    ):
        remote.predict(**observation)


@pytest.mark.parametrize('url', ['', 'localhost:8000', 'ftp://x', 'http://', '/tmp/socket'])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InferenceError, match='expected http://host:port'):
        RemotePredictor(url)


@pytest.mark.parametrize('version', VERSIONS)
def test_nobody_there_is_an_error_that_names_the_address(observation, version, port):
    with (
        RemotePredictor(f'{version}://127.0.0.1:{port}', timeout_s=30.0) as remote,
        pytest.raises(InferenceError, match=f'127.0.0.1:{port}.*no X-VLA server answers'),
    ):
        remote.predict(**observation)


@pytest.mark.parametrize('version', VERSIONS)
def test_a_silent_server_takes_no_longer_than_the_timeout(observation, version):
    with (
        socket.create_server(('127.0.0.1', 0)) as silent,
        RemotePredictor(
            f'{version}://127.0.0.1:{silent.getsockname()[1]}', timeout_s=0.3
        ) as remote,
    ):
        started = time.monotonic()
        with pytest.raises(InferenceError, match=r'no answer within 0\.3 s'):
            remote.predict(**observation)
        assert time.monotonic() - started < DEFAULT_S


@pytest.fixture
def drip():
    """Return the address of a server that sends one byte of its answer at a time, without end."""
    stop = threading.Event()

    class Drip(BaseHTTPRequestHandler):
        def do_GET(self):
            """Answer slowly."""
            self.send_response(200)
            self.end_headers()
            while not stop.wait(0.02):
                try:
                    self.wfile.write(b' ')
                except OSError:
                    return

        def log_message(self, *_):
            """Say nothing."""

    running = ThreadingHTTPServer(('127.0.0.1', 0), Drip)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{running.server_port}'
    stop.set()
    running.shutdown()
    running.server_close()


def test_an_answer_in_drips_takes_no_longer_than_the_timeout(drip):
    with RemotePredictor(drip, timeout_s=0.5) as remote:
        started = time.monotonic()
        with pytest.raises(InferenceError, match='no answer within'):
            remote.connect()
        assert time.monotonic() - started < DEFAULT_S


def unread(port):
    """Return a local server's connections on which something waits unread."""
    with open('/proc/net/tcp') as table:
        rows = [line.split() for line in table.readlines()[1:]]
    mine = [row for row in rows if row[1].endswith(f':{port:04X}') and row[3] == '01']
    return [row for row in mine if int(row[4].split(':')[1], 16)]


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_a_server_that_dies_with_requests_is_an_error_and_its_successor_is_asked(
    checkpoint, tmp_path, start_server, eventually, observation, port
):
    running = start_server(checkpoint, tmp_path, '--port', str(port))
    with (
        RemotePredictor(url_of(running, 'http'), timeout_s=60.0) as one,
        RemotePredictor(url_of(running, 'ws'), timeout_s=60.0) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        for remote in (one, two):
            remote.predict(**observation)
        running.process.send_signal(signal.SIGSTOP)  # so that no request can be finished
        asked = [pool.submit(remote.predict, **observation) for remote in (one, two)]
        eventually(lambda: len(unread(running.port)) == 2, 20, 'the requests to arrive')
        running.process.kill()
        running.process.wait(30)
        for answer in asked:
            with pytest.raises(InferenceError, match=f'127.0.0.1:{running.port}'):
                answer.result(30)
        successor = start_server(checkpoint, tmp_path, '--port', str(port))
        try:
            for remote in (one, two):
                assert remote.predict(**observation).shape == (6, 20)
        finally:
            successor.stop()


class StockServer(BaseHTTPRequestHandler):
    """The authors' v1 server as a client sees it: POST /act alone, known keys alone."""

    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        """Answer as FastAPI answers an unknown path."""
        self.answer(404, {'detail': 'Not Found'})

    def do_POST(self):
        """Answer the sum of what was understood."""
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        proprio = np.asarray(json_numpy.loads(body['proprio']))
        images = [json_numpy.loads(body[f'image{i}']) for i in range(3) if f'image{i}' in body]
        value = float(proprio.sum() + sum(int(image.sum()) for image in images))
        self.answer(200, {'action': np.full((30, 20), value).tolist()})

    def answer(self, status, fields):
        """Send JSON."""
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def stock_http() -> Iterator[str]:
    running = ThreadingHTTPServer(('127.0.0.1', 0), StockServer)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{running.server_port}'
    finally:
        running.shutdown()
        running.server_close()


@contextmanager
def stock_websocket() -> Iterator[str]:
    def act(connection):
        connection.send(msgpack.packb({'type': 'welcome', 'ok': True}))
        for message in connection:
            fields = msgpack.unpackb(message, object_hook=msgpack_numpy.decode, raw=False)
            value = float(
                fields['proprio'].sum() + fields['image0'].sum() + fields['image1'].sum()
            )
            answer = {'action': np.full((30, 20), value)}
            connection.send(msgpack.packb(answer, default=msgpack_numpy.encode))

    with serve_websocket(act, '127.0.0.1', 0, max_size=None) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'ws://127.0.0.1:{running.socket.getsockname()[1]}'
        running.shutdown()


@pytest.mark.parametrize('stock', [stock_http, stock_websocket])
def test_a_stock_server_is_asked_without_what_it_does_not_know(observation, stock):
    with stock() as url, RemotePredictor(url) as remote:
        actions = remote.predict(**observation, prefix=np.zeros((2, 20), np.float32))
        assert remote.left_out == ('noise', 'prefix')
        assert not remote.supports_prefix
        assert remote.metadata is None
        start = WarmStart(plan=np.zeros((30, 20), np.float32), time=0.1)
        with pytest.raises(InferenceError, match='cannot start from a plan'):
            remote.predict(**observation | {'steps': 1}, warm_start=start)
    total = observation['proprio'].astype(float).sum() + sum(
        int(image.sum()) for image in observation['images']
    )
    np.testing.assert_allclose(actions, np.full((30, 20), total), rtol=1e-6)


ANSWERS = {
    'no json': b'{"action": [[1',
    'no object': b'[]',
    'nothing': b'{}',
    'an error': b'{"error": "Request failed"}',
    'text': b'{"action": "up"}',
    'a flat list': b'{"action": [1, 2]}',
    'ragged rows': b'{"action": [[1, 2], [3]]}',
    'no rows': b'{"action": []}',
    'not finite': b'{"action": [[NaN, 1]]}',
}


@pytest.mark.parametrize('name', ANSWERS)
def test_an_answer_that_is_no_chunk_is_an_error(observation, name):
    class Wrong(StockServer):
        def do_POST(self):
            """Answer nonsense."""
            self.rfile.read(int(self.headers['Content-Length']))
            self.send_response(200)
            self.send_header('Content-Length', str(len(ANSWERS[name])))
            self.end_headers()
            self.wfile.write(ANSWERS[name])

    running = ThreadingHTTPServer(('127.0.0.1', 0), Wrong)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        with (
            RemotePredictor(f'http://127.0.0.1:{running.server_port}') as remote,
            pytest.raises(InferenceError, match=f'127.0.0.1:{running.server_port}/act: '),
        ):
            remote.predict(**observation)
    finally:
        running.shutdown()
        running.server_close()
