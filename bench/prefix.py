# SPDX-License-Identifier: Apache-2.0
"""What a committed prefix costs: the demo policy with and without one, in turns."""

from collections.abc import Callable
import time
from typing import Any

import numpy as np
import torch

from xvla_ros.core.resources import shared_file
from xvla_ros.model import load_policy

# In each round both ways run so often, in turns, and the shorter time of each counts: what else
# the machine does lengthens single runs, of either way.
ROUNDS, REPEATS = 60, 3
WARM_UP = 5
PREFIX = 10  # of 30 anchors: one second of the demo policy's three
SIDE = 224


def run() -> dict[str, dict[str, Any]]:
    """Return `realtime.prefix_overhead`: time with a prefix over time without one."""
    torch.set_num_threads(1)
    policy = load_policy(shared_file('resource', 'demo_policy'))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2)]
    question = (images, np.zeros(20, np.float32), 'pick up the red block', 0)
    prefix = policy.predict(*question)[:PREFIX]

    def seconds(given: bool) -> float:
        begin = time.perf_counter()
        policy.predict(*question, prefix=prefix if given else None)
        return time.perf_counter() - begin

    for _ in range(WARM_UP):
        seconds(True), seconds(False)
    rows = np.array([shortest(seconds, bool(number % 2)) for number in range(ROUNDS)])
    entry = {
        'ours': float(np.median(rows[:, 0] / rows[:, 1])),
        'unit': 'x',
        'n': ROUNDS,
        'with_ms': 1e3 * float(np.median(rows[:, 0])),
        'without_ms': 1e3 * float(np.median(rows[:, 1])),
    }
    return {'realtime.prefix_overhead': entry}


def shortest(seconds: Callable[[bool], float], first: bool) -> tuple[float, float]:
    """Return the shortest time of REPEATS runs with a prefix, and of as many without, in turns."""
    runs = [(seconds(first), seconds(not first)) for _ in range(REPEATS)]
    one, other = (min(times) for times in zip(*runs, strict=True))
    return (one, other) if first else (other, one)
