# SPDX-License-Identifier: Apache-2.0
"""
How fast this processor could answer at best: the products of one chunk at their highest rate.

The work is counted on the network itself, every product of its exact run; the rate is that of the
network's layers alone, at their own shapes, on all cores. What the whole takes beyond
`floor_ms` is everything that is not a product.
"""

import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.parity import STEPS
from bench.reference_network import config_json, TEXT_LENGTH, VIEWS
from xvla_ros.model.config import parse_config
from xvla_ros.model.forward import answer, Batch, Geometry
from xvla_ros.model.packing import bfloat16_slower, layer_kind
from xvla_ros.model.sampler import flow_times
from xvla_ros.model.xvla import XVLA

# (rows, inputs, outputs): the head's layers at three views, and the encoder's largest.
PRODUCTS = (
    (262, 1024, 3072),
    (262, 1024, 1024),
    (262, 1024, 4096),
    (262, 4096, 1024),
    (588, 1024, 4096),
    (588, 4096, 1024),
)
REPEATS = 30
# hidden_size of X-VLA's head.
FULL_WIDTH = 1024


def work(steps: int) -> float:
    """Count the floating-point operations of one chunk at full size and three views."""
    with torch.device('meta'):
        network = XVLA(parse_config(config_json('full'))).eval().requires_grad_(False)
        width = network.vlm.config.text_config.d_model
        batch = Batch(
            pixels=torch.empty(VIEWS, 3, 224, 224),
            words=torch.empty(1, TEXT_LENGTH, width),
            state=torch.empty(1, network.dim_proprio),
            domain=torch.zeros(1, dtype=torch.int64),
            noise=torch.empty(1, network.config.num_actions, network.mode.dim),
            plan=torch.empty(1, network.config.num_actions, network.mode.dim),
            times=torch.empty(steps),
        )
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        answer(network, batch, Geometry(views=(VIEWS,), times=flow_times(steps)))
    return float(counter.get_total_flops())


def rate(dtype: torch.dtype) -> float:
    """Return the highest rate of any of the products, in operations per second."""
    best, kind = 0.0, layer_kind(dtype, FULL_WIDTH)
    for rows, inputs, outputs in PRODUCTS:
        layer = kind(nn.Linear(inputs, outputs).requires_grad_(False), dtype)
        x = torch.randn(1, rows, inputs).to(dtype)
        seconds = []
        with torch.inference_mode():
            for _ in range(REPEATS):
                start = time.perf_counter()
                layer(x)
                seconds.append(time.perf_counter() - start)
        best = max(best, 2 * rows * inputs * outputs / min(seconds))
    return best


def run() -> dict[str, dict]:
    """Return `inference.floor_*`: what the exact run's products alone take at that rate."""
    operations, found = work(STEPS), {}
    lacking = {torch.float32: None, torch.bfloat16: bfloat16_slower(FULL_WIDTH)}
    for dtype, reason in lacking.items():
        name = f'inference.floor_{"fp32" if dtype == torch.float32 else "bf16"}'
        if reason:
            found[name] = {'skipped': reason}
            continue
        speed = rate(dtype)
        found[name] = {
            'ours': round(operations / speed * 1e3, 1),
            'unit': 'ms',
            'n': REPEATS,
            'gigaflops_per_second': round(speed / 1e9, 1),
            'teraflops': round(operations / 1e12, 4),
        }
    return found
