# SPDX-License-Identifier: Apache-2.0
"""Serve a checkpoint: load, warm up, bind, run until told to stop."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
import logging
from pathlib import Path
import signal
import socket

from fastapi import FastAPI
import uvicorn

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import ConfigError
from xvla_ros.model import load_policy, Policy
from xvla_ros.serve.app import create_app, Service
from xvla_ros.serve.batcher import Batcher
from xvla_ros.serve.batching import answers, batch_key
from xvla_ros.serve.patience import PatientProtocol
from xvla_ros.serve.requests import Contract, Limits
from xvla_ros.serve.slurm import check_absent, info_file, job_info
from xvla_ros.serve.token import read_token

log = logging.getLogger(__name__)

LOOPBACK = ('127.0.0.1', '::1', 'localhost')
# As the authors' v2 server pings (models/server.py).
PING_S = 20.0
# How long requests in flight may take to finish once the server is told to stop.
GRACE_S = 10
# Open connections, beyond which new ones are told 503.
MOST_CONNECTIONS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """
    What `xvla serve` was asked to do.

    :param port: 0 takes a free one; `batch`: requests run together at most.
    :param output_dir: where `info.json` goes when `slurm` is set.
    """

    checkpoint: Path
    adapter: Path | None = None
    host: str = '127.0.0.1'
    port: int = 8000
    token_file: Path | None = None
    device: str = 'cpu'
    dtype: str = 'float32'
    backend: str = 'auto'
    batch: int = 8
    body_mib: int = 32
    slurm: bool = False
    output_dir: Path = Path('logs')

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be answered."""
        for name in ('batch', 'body_mib'):
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} is {getattr(self, name)}, expected at least 1')

    def token(self) -> str | None:
        """Return the bearer token that clients must send; None for none."""
        return read_token(self.token_file, '--token-file') if self.token_file else None


def serve(settings: ServerSettings) -> None:
    """
    Serve until SIGINT or SIGTERM; the port is bound when the model is warm.

    :raises ConfigError: something the user gave is wrong; most of it is found before the model
        loads.
    """
    settings.token()
    info_path = settings.output_dir / 'info.json'
    if settings.slurm:
        job_info(settings.port)
        check_absent(info_path)
    bind(settings.host, settings.port).close()
    app = build_app(settings)
    with until_stopped(), bind(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        with info_file(info_path, job_info(port)) if settings.slurm else nullcontext():
            announce(settings, port)
            run(app, listener, settings.body_mib)


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    # asyncio turns Nagle's delay off (40 ms per answer) only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(f'cannot listen on {host}:{port}: {error}') from None
    return listener


def warm_up(policy: Policy) -> None:
    """Answer blank observations, one per number of views: no client pays for the first."""
    for count in range(1, policy.config.view_slots + 1):
        policy.warm_up(count)
        log.info('warm with %d of %d views', count, policy.config.view_slots)


def describe(policy: Policy, name: str) -> Contract:
    """Read off a policy what its clients must know."""
    return Contract(
        checkpoint=name,
        action_mode=policy.config.action_mode,
        cameras=policy.config.view_slots,
        domains=policy.config.num_domains,
        dim_proprio=policy.network.dim_proprio,
        num_actions=policy.config.num_actions,
        dim_action=policy.mode.real_dim,
        dim_noise=policy.mode.dim,
        trained_domains=policy.trained_domains,
        first_anchor_index=policy.config.first_anchor_index,
    )


def build_app(settings: ServerSettings) -> FastAPI:
    """Load and warm a policy, and put it behind a batcher and the protocol."""
    token = settings.token()
    folder = checkpoint_folder(settings.checkpoint)
    policy = load_policy(
        folder, settings.device, settings.dtype, settings.adapter, settings.backend
    )
    warm_up(policy)
    batcher = Batcher(partial(answers, policy), batch_key, settings.batch)
    limits = Limits(body_bytes=settings.body_mib * 2**20)
    contract = describe(policy, settings.checkpoint.name)
    return create_app(Service(batcher, contract, limits, token))


def announce(settings: ServerSettings, port: int) -> None:
    """Say who can reach the server and, as the last word of a start, where it is."""
    if settings.host not in LOOPBACK and settings.token_file is None:
        log.warning(
            '%s can be reached from other machines and asks for no token (--token-file)',
            settings.host,
        )
    if settings.host in LOOPBACK and settings.slurm:
        log.warning(
            'info.json names this node, but only this node can reach %s; give --host',
            settings.host,
        )
    log.info(
        'serving %s on http://%s:%d (POST /act, WebSocket /act, GET /health)',
        settings.checkpoint,
        settings.host,
        port,
    )


@contextmanager
def until_stopped() -> Iterator[None]:
    """End the block on SIGINT and on SIGTERM; uvicorn raises either again once it has stopped."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        log.info('stopped')
    finally:
        signal.signal(signal.SIGTERM, previous)


def run(app: FastAPI, listener: socket.socket, body_mib: int) -> None:
    """Run uvicorn on a listening socket until a signal, then let requests in flight finish."""
    config = uvicorn.Config(
        app,
        log_level='warning',
        ws_max_size=body_mib * 2**20,
        ws_max_queue=1,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        http=PatientProtocol,
    )
    uvicorn.Server(config).run(sockets=[listener])
