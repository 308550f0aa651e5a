# SPDX-License-Identifier: Apache-2.0
"""Serves a checkpoint: loads it, warms it up, opens the port and runs until it is stopped."""

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
# Ping interval and timeout of the authors' v2 server (models/server.py).
PING_S = 20.0
# How long running requests may take to finish when the server stops.
GRACE_S = 10
# Most open connections; further ones get 503.
MOST_CONNECTIONS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """
    The settings of `xvla serve`.

    :param port: 0: a free one. :param batch: most requests per batch.
    :param output_dir: folder of `info.json`, with `slurm`.
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
        """Refuse limits below one."""
        for name in ('batch', 'body_mib'):
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} is {getattr(self, name)}, expected at least 1')

    def token(self) -> str | None:
        """Return the bearer token that clients must send; None for none."""
        return read_token(self.token_file, '--token-file') if self.token_file else None


def serve(settings: ServerSettings) -> None:
    """
    Serve until SIGINT or SIGTERM; open the port after the warm-up.

    :raises ConfigError: a setting is wrong; most are checked before the model loads.
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
    """Answer a blank observation for each number of views, so that no client has to wait."""
    for count in range(1, policy.config.view_slots + 1):
        policy.warm_up(count)
        log.info('warm with %d of %d views', count, policy.config.view_slots)


def describe(policy: Policy, name: str) -> Contract:
    """Return the facts about a policy for its clients."""
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
    """Load and warm up a policy, and build the application with a batcher."""
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
    """Log who can reach the server, and last its address."""
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
    """End the block on SIGINT and SIGTERM, which uvicorn raises again when it has stopped."""

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
    """Run uvicorn on a listening socket until a signal, then let running requests finish."""
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
