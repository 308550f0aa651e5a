# SPDX-License-Identifier: Apache-2.0
"""Makes the environments of the published implementations when needed."""

from pathlib import Path
import subprocess

from xvla_ros.core.errors import XvlaError

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv-reference'
NATIVE = ROOT / '.venv-reference-native'


class MissingReferenceError(XvlaError):
    """`.venv-reference` is missing and cannot be made, or holds another version of lerobot."""


def make_reference(*options: str) -> Path:
    """
    Make `.venv-reference`, with lines of progress; milliseconds when it is there.

    :param options: of scripts/bootstrap-reference: `--sources` for lerobot's own files alone,
        `--trainer` for its trainer and dataset reader, too, `--native` for lerobot 0.6.1 in an
        environment of its own.
    :return: its Python.
    :raises MissingReferenceError: it cannot be made; the message says why.
    """
    command = [ROOT / 'scripts' / 'bootstrap-reference', *options]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise MissingReferenceError(result.stderr.strip())
    return (NATIVE if '--native' in options else VENV) / 'bin' / 'python'
