# SPDX-License-Identifier: Apache-2.0
"""Makes `.venv-reference`, the environment of the published implementation, when needed."""

from pathlib import Path
import subprocess

from xvla_ros.core.errors import XvlaError

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv-reference'


class MissingReferenceError(XvlaError):
    """`.venv-reference` is missing and cannot be made, or holds another version of lerobot."""


def make_reference(*options: str) -> Path:
    """
    Make `.venv-reference`, with lines of progress; milliseconds when it is there.

    :param options: of scripts/bootstrap-reference: `--sources` for lerobot's own files alone.
    :return: its Python.
    :raises MissingReferenceError: it cannot be made; the message says why.
    """
    command = [ROOT / 'scripts' / 'bootstrap-reference', *options]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise MissingReferenceError(result.stderr.strip())
    return VENV / 'bin' / 'python'
