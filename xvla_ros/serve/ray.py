# SPDX-License-Identifier: Apache-2.0
"""
The same server on several machines with Ray Serve (optional: `pip install "ray[serve]"`).

`serve run xvla_ros.serve.ray:application checkpoint=DIR replicas=4 gpus=1 device=cuda`
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from xvla_ros.core.errors import ConfigError
from xvla_ros.serve.batcher import WAITING

KNOWN = (
    'checkpoint',
    'adapter',
    'replicas',
    'gpus',
    'device',
    'dtype',
    'batch',
    'body_mib',
    'token_file',
)


def application(arguments: Mapping[str, str]) -> Any:
    """
    Build the deployment from `key=value` arguments: those of `xvla serve`, `replicas` and `gpus`.

    Every replica has its own copy of the model and its own queue; Ray chooses among them. The
    checkpoint must be readable at the same path on every machine.

    :param arguments: `replicas` copies with `gpus` each, which may be fractions.
    :raises ConfigError: an argument is unknown, or Ray is not installed.
    """
    unknown = sorted(set(arguments) - set(KNOWN))
    if unknown or 'checkpoint' not in arguments:
        raise ConfigError(
            f'arguments: {unknown or "no checkpoint"}; expected checkpoint=DIR and any of {KNOWN}'
        )
    try:
        from ray import serve
    except ImportError as error:
        raise ConfigError(
            f'Ray Serve is not installed: pip install "ray[serve]" ({error})'
        ) from error
    deployment = serve.deployment(
        serve.ingress(builder(dict(arguments)))(),
        name='xvla',
        num_replicas=int(arguments.get('replicas', 1)),
        max_ongoing_requests=WAITING,
        ray_actor_options={'num_gpus': float(arguments.get('gpus', 0))},
    )
    return deployment.bind()


def builder(arguments: dict[str, str]) -> Callable[[], FastAPI]:
    """Return the function with which a replica builds its application, warmed up."""

    def build() -> FastAPI:
        from xvla_ros.serve.server import build_app, ServerSettings

        values: dict[str, Any] = {
            k: v for k, v in arguments.items() if k not in ('replicas', 'gpus')
        }
        for name, kind in {
            'checkpoint': Path,
            'token_file': Path,
            'adapter': Path,
            'batch': int,
            'body_mib': int,
        }.items():
            if name in values:
                values[name] = kind(values[name])
        return build_app(ServerSettings(**values))

    return build
