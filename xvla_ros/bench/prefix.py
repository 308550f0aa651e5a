# SPDX-License-Identifier: Apache-2.0
"""What a committed prefix costs: the demo policy with and without one, in turns."""

import time
from typing import Any

import numpy as np
import torch

from xvla_ros.core.resources import shared_file
from xvla_ros.model import load_policy

PAIRS = 200
WARM_UP = 5
PREFIX = 10  # of 30 anchors: one second of the demo policy's three
SIDE = 224


def run() -> dict[str, dict[str, Any]]:
    """Return `realtime.prefix_overhead`: time with a prefix over time without, medians."""
    torch.set_num_threads(1)
    policy = load_policy(shared_file('resource', 'demo_policy'))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2)]
    question = (images, np.zeros(20, np.float32), 'pick up the red block', 0)
    prefix = policy.predict(*question)[:PREFIX]
    times: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(WARM_UP + PAIRS):
        for given in (bool(pair % 2), not pair % 2):
            begin = time.perf_counter()
            policy.predict(*question, prefix=prefix if given else None)
            times[given].append(time.perf_counter() - begin)
    with_ms, without_ms = (1e3 * float(np.median(times[g][WARM_UP:])) for g in (True, False))
    entry = {
        'ours': with_ms / without_ms,
        'unit': 'x',
        'n': PAIRS,
        'with_ms': with_ms,
        'without_ms': without_ms,
    }
    return {'realtime.prefix_overhead': entry}
