# SPDX-License-Identifier: Apache-2.0
"""
Write a checkpoint as graphs for ONNX Runtime or OpenVINO; docs/edge.md describes them.

At the end the graphs are compared with torch. If the difference is too large, the export fails.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

FORMATS = ('onnx', 'openvino')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        'source', type=Path, help='checkpoint directory, any layout, or demo_policy'
    )
    parser.add_argument('--format', choices=FORMATS, required=True, help='what to write')
    parser.add_argument('--out', type=Path, required=True, help='directory, new or empty')
    parser.add_argument('--adapter', type=Path, help='LoRA adapter directory to merge')


def run(args: Namespace) -> int:
    """Export, and print the differences from torch."""
    from xvla_ros.model.backends.export import export

    manifest = export(args.source, args.out, args.format, args.adapter)
    size = sum(file.stat().st_size for file in args.out.iterdir()) / 1e6
    errors = ', '.join(f'{name} {error:.1e}' for name, error in manifest.errors.items())
    print(f'{args.out}: {args.format}, {size:.1f} MB; differences from torch: {errors}')
    return 0
