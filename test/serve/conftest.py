# SPDX-License-Identifier: Apache-2.0
"""A real server process with a small X-VLA of random weights, and requests to it."""

from dataclasses import dataclass
from pathlib import Path
import re
import subprocess
import sys
import threading
import time

from checkout import with_checkout
import numpy as np
import psutil
import pytest

START_S = 200.0  # importing torch takes 5 s of a core that others may be using


@dataclass
class ServerProcess:
    """`xvla serve` as a process of its own."""

    process: subprocess.Popen
    log: Path
    port: int

    @property
    def url(self):
        """Address of version 1."""
        return f'http://127.0.0.1:{self.port}'

    @property
    def socket_url(self):
        """Address of version 2."""
        return f'ws://127.0.0.1:{self.port}'

    @property
    def resident_mib(self):
        """Memory the process holds [MiB]."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def stop(self):
        """End the server as an operator does; return its exit status."""
        self.process.terminate()
        return self.process.wait(90)


def launch(checkpoint, folder, *arguments, environment=None):
    """Start a server on a free port and wait for the line that says where it listens."""
    command = [
        sys.executable,
        '-m',
        'xvla_ros.tools.cli',
        'serve',
        '--checkpoint',
        str(checkpoint),
    ]
    log = folder / f'server-{time.monotonic_ns()}.log'
    variables = with_checkout(OMP_NUM_THREADS='1') | (environment or {})
    with log.open('w') as out:
        process = subprocess.Popen(
            [*command, '--port', '0', *arguments],
            stdout=out,
            stderr=out,
            env=variables,
            cwd=folder,
        )
    port = wait_for(lambda: announced_port(log, process), START_S, f'the server; see {log}')
    return ServerProcess(process, log, port)


def announced_port(log, process):
    text = log.read_text()
    assert process.poll() is None, f'the server ended:\n{text}'
    found = re.search(r'serving .* on http://[^ ]*:(\d+) ', text)
    return int(found[1]) if found else None


def wait_for(condition, timeout_s, what):
    """Return the first true value of a condition, checked until a deadline."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause.wait(0.02)
    raise AssertionError(f'waited {timeout_s} s in vain for {what}')


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    torch = pytest.importorskip('torch')
    from xvla_ros.testing.miniature import write_small

    torch.set_num_threads(1)
    return write_small(tmp_path_factory.mktemp('small'))


@pytest.fixture(scope='session')
def policy(checkpoint):
    from xvla_ros.model import load_policy

    return load_policy(checkpoint)


@pytest.fixture(scope='session')
def server(checkpoint, tmp_path_factory):
    running = launch(checkpoint, tmp_path_factory.mktemp('server'))
    yield running
    running.stop()


@pytest.fixture
def observation():
    """Two views, proprio, and noise for the small policy."""
    random = np.random.default_rng(3)
    return {
        'images': [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(2)],
        'proprio': random.normal(size=20).astype(np.float32),
        'instruction': 'pick up the red block',
        'domain_id': 1,
        'steps': 4,
        'noise': random.normal(size=(6, 20)).astype(np.float32),
    }


@pytest.fixture
def body(observation):
    """Return the same observation as the body of a v1 request."""
    return body_of(**observation)


def body_of(images, proprio, instruction, domain_id, steps, noise=None):
    import json_numpy

    fields = {f'image{i}': json_numpy.dumps(image) for i, image in enumerate(images)}
    if noise is not None:
        fields['noise'] = json_numpy.dumps(noise)
    return fields | {
        'proprio': json_numpy.dumps(proprio),
        'language_instruction': instruction,
        'domain_id': domain_id,
        'steps': steps,
    }


@pytest.fixture(scope='session')
def start_server():
    """Return the function that starts a server of one's own."""
    return launch


@pytest.fixture(scope='session')
def v1_body():
    """Return the function that writes an observation as a v1 body."""
    return body_of


@pytest.fixture(scope='session')
def eventually():
    """Return the function that waits for a condition."""
    return wait_for
