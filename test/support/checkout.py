# SPDX-License-Identifier: Apache-2.0
"""The environment of processes that import this checkout from any folder."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def with_checkout(**variables):
    """Return this process's environment with the checkout first in PYTHONPATH; ROS stays in it."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    return {**os.environ, 'PYTHONPATH': path, **variables}
