# SPDX-License-Identifier: Apache-2.0
"""
Serve a policy in another process, as on a machine with a GPU, and ask it over HTTP.

    python examples/serve_and_ask.py
"""

from contextlib import contextmanager
import socket
import subprocess
import sys

import numpy as np

from xvla_ros.serve.client import RemotePredictor


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(checkpoint: str, port: int):
    """Run `xvla serve`; the port answers once the model is warm."""
    command = [
        '-m',
        'xvla_ros.tools.cli',
        'serve',
        '--checkpoint',
        checkpoint,
        '--port',
        str(port),
    ]
    with subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stderr:
                print(line, end='')
                if f':{port}' in line:
                    break
            yield
        finally:
            process.terminate()


port = free_port()
with server('demo_policy', port), RemotePredictor(f'http://127.0.0.1:{port}') as policy:
    image = np.zeros((240, 320, 3), np.uint8)
    chunk = policy.predict([image, image], np.zeros(20), 'pick up the red block', domain_id=0)
    print('the server says of itself:', dict(policy.metadata))
    print('it answered', chunk.shape, chunk.dtype)
