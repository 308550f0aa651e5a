# SPDX-License-Identifier: Apache-2.0
"""A local stand-in of the Hugging Face hub: the endpoints that huggingface_hub downloads by."""

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import re
import threading

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class FakeHub:
    """
    Models by name, each its files by name (bytes).

    cut: files of which only so many bytes are sent before the connection ends, and nothing more
    after that. sent: bytes that were sent of each file; requests: what was asked for, in order.
    """

    def __init__(self, models):
        self.models, self.cut, self.sent, self.requests = models, {}, {}, []
        self.url = ''

    @contextmanager
    def running(self) -> Iterator['FakeHub']:
        """Serve until the end of the block."""
        server = ThreadingHTTPServer(('127.0.0.1', 0), type('Handler', (_Handler,), {'hub': self}))
        self.url = f'http://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = 'HTTP/1.1'

    def log_message(self, format, *args):
        """Say nothing."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        self.hub.requests.append((self.command, self.path, self.headers.get('Range')))
        if info := re.fullmatch(r'/api/models/([^/]+/[^/]+)(/revision/[^/?]+)?(\?.*)?', self.path):
            self._info(info[1])
        elif tree := re.fullmatch(r'/api/models/([^/]+/[^/]+)/tree/[^/?]+(\?.*)?', self.path):
            self._tree(tree[1])
        elif file := re.fullmatch(r'/([^/]+/[^/]+)/resolve/[^/]+/(.+)', self.path):
            self._file(file[1], file[2], body)
        else:
            self._refuse('EntryNotFound')

    def _info(self, name):
        if name not in self.hub.models:
            self._refuse('RepoNotFound')
            return
        files = [{'rfilename': file} for file in self.hub.models[name]]
        self._tell({'id': name, 'sha': COMMIT, 'siblings': files})

    def _tree(self, name):
        self._tell(
            [
                {'type': 'file', 'path': file, 'size': len(content), 'oid': COMMIT}
                for file, content in self.hub.models[name].items()
            ]
        )

    def _tell(self, values):
        self._send(200, json.dumps(values).encode(), {'Content-Type': 'application/json'})

    def _file(self, name, file, body):
        content = self.hub.models.get(name, {}).get(file)
        if content is None:
            self._refuse('EntryNotFound')
            return
        headers = {
            'ETag': f'"{hashlib.sha256(content).hexdigest()}"',
            'X-Repo-Commit': COMMIT,
            'Accept-Ranges': 'bytes',
        }
        if body and file in self.hub.cut and file in self.hub.sent:
            self._send(503, b'', {})
            return
        begin = re.match(r'bytes=(\d+)-', self.headers.get('Range') or '')
        first, status = int(begin[1]) if begin else 0, 206 if begin else 200
        if begin:
            last = len(content) - 1
            headers['Content-Range'] = f'bytes {first}-{last}/{len(content)}'
        self._send(status, content[first:], headers, file if body else None)

    def _send(self, status, content, headers, file=None):
        self.send_response(status)
        for key, value in {**headers, 'Content-Length': str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == 'HEAD':
            return
        sent = content[: self.hub.cut.get(file, len(content))]
        self.wfile.write(sent)
        self.hub.sent[file] = self.hub.sent.get(file, 0) + len(sent)
        if len(sent) < len(content):
            self.close_connection = True

    def _refuse(self, code):
        self._send(404, b'', {'X-Error-Code': code, 'X-Error-Message': 'not here'})
