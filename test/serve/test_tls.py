# SPDX-License-Identifier: Apache-2.0
"""A server behind TLS is asked only when its certificate is known, on both wires."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import shutil
import ssl
import subprocess
import threading

import msgpack
import pytest
from websockets.sync.server import serve as serve_websocket

from xvla_ros.core.errors import InferenceError
from xvla_ros.serve.client import RemotePredictor

FACTS = {'status': 'ok', 'checkpoint': 'any', 'extensions': []}
CONNECT_S = 20.0


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    """Return the files of a certificate for localhost that signs itself, and of its key."""
    if not shutil.which('openssl'):
        pytest.skip('making a certificate needs openssl')
    folder = tmp_path_factory.mktemp('tls')
    files = folder / 'policy.pem', folder / 'policy.key'
    options = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost']
    names = ['-addext', 'subjectAltName=DNS:localhost', '-out', files[0], '-keyout', files[1]]
    subprocess.run(
        ['openssl', 'req', *options, *names], check=True, capture_output=True, timeout=60
    )
    return files


class Health(BaseHTTPRequestHandler):
    """Says what is served."""

    def do_GET(self):
        """Answer /health."""
        body = json.dumps(FACTS).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope='module')
def urls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    web = ThreadingHTTPServer(('127.0.0.1', 0), Health)
    web.socket = context.wrap_socket(web.socket, server_side=True)

    def welcome(connection):
        connection.send(msgpack.packb(FACTS))
        connection.recv()

    sockets = serve_websocket(welcome, '127.0.0.1', 0, ssl=context)
    for server in (web, sockets):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        'https': f'https://localhost:{web.server_address[1]}',
        'wss': f'wss://localhost:{sockets.socket.getsockname()[1]}',
    }
    web.shutdown()
    sockets.shutdown()


@pytest.mark.parametrize('scheme', ['https', 'wss'])
def test_only_a_known_certificate_is_accepted(urls, certificate, scheme, monkeypatch):
    stranger = RemotePredictor(urls[scheme], timeout_s=CONNECT_S)
    with stranger, pytest.raises(InferenceError, match='CERTIFICATE_VERIFY_FAILED'):
        stranger.connect()
    monkeypatch.setenv('SSL_CERT_FILE', str(certificate[0]))
    with RemotePredictor(urls[scheme], timeout_s=CONNECT_S) as known:
        known.connect()
