# SPDX-License-Identifier: Apache-2.0
"""
Serve a checkpoint over X-VLA's own wire protocol.

POST /act (json_numpy), WebSocket /act (msgpack) and GET /health; see docs/serve.md. The port opens
after the warm-up; without --host only this machine can connect.
"""

import argparse
import logging
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        '--checkpoint',
        type=Path,
        required=True,
        help='checkpoint directory, or the name of one that comes with the package (demo_policy)',
    )
    parser.add_argument('--adapter', type=Path, help='LoRA adapter directory to merge (PEFT)')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on; default: this machine only'
    )
    parser.add_argument('--port', type=int, default=8000, help='port; 0: a free one')
    parser.add_argument(
        '--token-file', type=Path, help='file with a bearer token that clients must send'
    )
    parser.add_argument('--device', default='cpu', help='torch device, such as cuda')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or int8')
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'torch', 'onnxruntime', 'openvino'),
        help='library that runs the network (default: torch, or the fastest for exported graphs)',
    )
    parser.add_argument('--batch', type=int, default=8, help='most requests per batch')
    parser.add_argument('--body-mib', type=int, default=32, help='largest request [MiB]')
    parser.add_argument(
        '--slurm', action='store_true', help="write info.json with the job's host for clients"
    )
    parser.add_argument(
        '--output-dir', type=Path, default=Path('logs'), help='directory of info.json'
    )


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    from xvla_ros.serve.server import serve, ServerSettings  # torch and FastAPI: seconds to import

    logging.basicConfig(level=logging.INFO, format='[serve] %(message)s')
    names = ServerSettings.__dataclass_fields__
    serve(ServerSettings(**{name: getattr(args, name) for name in names}))
    return 0
