# SPDX-License-Identifier: Apache-2.0
"""
The same on a GPU, where there is one: our recorded bfloat16 run against lerobot's, eager.

`roofline_ms` is what no implementation can beat here: per stage, the larger of the products at
the rate of one large product and the weights at the rate of one large copy, both measured.
"""

from collections.abc import Callable
from pathlib import Path
import time

import numpy as np
import torch

from bench.inference import entry, published, ROUNDS
from bench.inference_bound import work
from bench.parity import ROOT, SEED, seeded_network, STEPS
from bench.reference_network import seeded_inputs, VIEWS
from xvla_ros.model.cuda_graph import CapturedAnswer
from xvla_ros.model.forward import Batch, Geometry
from xvla_ros.model.packing import CastLinear, pack
from xvla_ros.model.sampler import flow_times
from xvla_ros.model.xvla import XVLA

SIDE, COPIED_BYTES = 8192, 2**30
CHUNKS_PER_ROUND = 20


def gpu_network() -> XVLA:
    """Build our network as `load_policy` leaves it, in bfloat16 on the GPU."""
    network = seeded_network('full')
    pack(network, torch.bfloat16, 'cuda')
    return network.to('cuda')


def gpu_batch(network: XVLA, times: tuple[float, ...]) -> Batch:
    """Return the seeded observation on the GPU; the reference gets the same one."""
    data = seeded_inputs('full', VIEWS, SEED)
    t = {name: torch.from_numpy(values).to('cuda') for name, values in data.items()}
    return Batch(
        pixels=t['pixel_values'].flatten(0, 1),
        words=network.text_features(t['input_ids']),
        state=t['proprio'],
        domain=t['domain_id'],
        noise=t['noise'],
        plan=torch.zeros_like(t['noise']),
        times=torch.tensor(times, device='cuda'),
    )


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes, until the kernels that it starts have ended [s]."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def roofline_s(network: XVLA) -> float:
    """Return the least time one chunk can take on this GPU."""
    square = torch.randn(SIDE, SIDE, device='cuda', dtype=torch.bfloat16)
    source = torch.empty(COPIED_BYTES, device='cuda', dtype=torch.uint8)
    target = torch.empty_like(source)
    speed = 2 * SIDE**3 / min(seconds(lambda: square @ square) for _ in range(5))
    bandwidth = 2 * COPIED_BYTES / min(seconds(lambda: target.copy_(source)) for _ in range(5))
    one, two = work(1), work(2)
    step, encoding = two - one, 2 * one - two

    def stage(operations: float, part: torch.nn.Module) -> float:
        layers = [m.weight for m in part.modules() if isinstance(m, CastLinear)]
        size = sum(weight.numel() * weight.element_size() for weight in layers)
        return max(operations / speed, size / bandwidth)

    return stage(encoding, network.vlm) + STEPS * stage(step, network.transformer)


def run(out: Path = ROOT / 'out') -> dict[str, dict]:
    """Return `inference.gpu`; an empty dictionary without a GPU."""
    if not torch.cuda.is_available():
        return {}
    times = flow_times(STEPS)
    geometry = Geometry(views=(VIEWS,), times=times)
    ours, anchor = [], []
    with (
        torch.inference_mode(),
        published(
            ['bfloat16'], torch.get_num_threads(), out / 'inference_gpu_anchor.log', 'cuda'
        ) as theirs,
    ):
        network = gpu_network()
        batch = gpu_batch(network, times)
        captured = CapturedAnswer(network, batch, geometry)
        for turn in range(ROUNDS + 1):  # the first warms up
            for _ in range(CHUNKS_PER_ROUND):
                mine, other = seconds(lambda: captured(batch)), theirs.seconds('bfloat16')
                ours += [mine] if turn else []
                anchor += [other] if turn else []
        floor = roofline_s(network)
    return {
        'inference.gpu': entry(
            ours,
            anchor,
            device=torch.cuda.get_device_name(),
            roofline_ms=round(floor * 1e3, 3),
            over_roofline=round(float(np.median(ours)) / floor, 3),
        )
    }
