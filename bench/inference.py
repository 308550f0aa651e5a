# SPDX-License-Identifier: Apache-2.0
"""
make bench --only inference: our inference against lerobot's published X-VLA (0.4.4) at full size.

Both have the same seeded random weights, three valid views, 50 text tokens, 10 denoising steps and
all cores: they take turns, each waiting for the other, and the median counts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import torch

from bench.knobs import fast_trade, steps_needed, Trade
from bench.parity import our_outputs, ROOT, SEED, seeded_network, STEPS
from bench.reference_environment import make_reference
from bench.reference_network import seeded_inputs
from xvla_ros.core.errors import XvlaError
from xvla_ros.model.backends.int8 import can_round, pack_int8
from xvla_ros.model.packing import bfloat16_slower, pack
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.xvla import XVLA

ROUNDS = 3
# hidden_size of X-VLA's head.
FULL_WIDTH = 1024
ROUNDED_LAST = ('float32', 'bfloat16', 'int8')
IMAGE_REPEATS = 30


class Published:
    """The published network, run by a process of its own environment that answers on a pipe."""

    def __init__(self, dtypes: list[str], threads: int, log: Path, device: str) -> None:
        command = [
            make_reference(),
            Path(__file__).with_name('reference_run.py'),
            *('--size', 'full', '--seed', SEED, 'serve'),
            *('--threads', threads, '--device', device, '--dtypes', *dtypes),
        ]
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open('w') as stream:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        self._answer()

    def _answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f'the published network stopped, see {self.log}')
        return line

    def seconds(self, dtype: str) -> float:
        """Return how long one chunk took the published network [s], measured in its process."""
        self.process.stdin.write(f'{dtype}\n')
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


@contextmanager
def published(
    dtypes: list[str], threads: int, log: Path, device: str = 'cpu'
) -> Iterator[Published]:
    """Run the published network in the block; end its process afterwards."""
    running = Published(dtypes, threads, log, device)
    try:
        yield running
    finally:
        running.close()


def our_chunk(network: XVLA, steps: int) -> float:
    """Return how long one chunk takes our network [s]."""
    data = seeded_inputs('full', 3, SEED)
    start = time.perf_counter()
    our_outputs(network, data, steps, stages=False)
    return time.perf_counter() - start


def our_network(dtype: str) -> XVLA:
    """Build our network as `load_policy` leaves it."""
    network = seeded_network('full')
    if dtype == 'int8':
        pack_int8(network)
    else:
        pack(network, getattr(torch, dtype))
    return network


def networks(out: Path, fewer_steps: int = STEPS) -> dict[tuple[str, int], list[float]]:
    """
    Measure whole chunks, ours and the published ones, taking turns.

    :param fewer_steps: measured in bfloat16 besides the ten.
    :return: seconds by contestant and steps; the anchor's are `anchor float32` and so on.
    """
    dtypes = ['float32'] if bfloat16_slower(FULL_WIDTH) else ['float32', 'bfloat16']
    ours = {dtype: our_network(dtype) for dtype in dtypes}
    if can_round():
        ours['int8'] = our_network('int8')
    plan = [(dtype, STEPS) for dtype in ours]
    plan += [('bfloat16', fewer_steps)] if 'bfloat16' in ours and fewer_steps != STEPS else []
    times = defaultdict(list)
    with published(dtypes, torch.get_num_threads(), out / 'inference_anchor.log') as anchor:
        for turn in range(ROUNDS + 1):  # the first warms up
            found = {(f'anchor {dtype}', STEPS): anchor.seconds(dtype) for dtype in dtypes}
            found |= {(dtype, n): our_chunk(ours[dtype], n) for dtype, n in plan}
            for key, seconds in found.items():
                times[key] += [seconds] if turn else []
            print(f'inference: round {turn} of {ROUNDS}', file=sys.stderr, flush=True)
    return times


def entries(times: dict[tuple[str, int], list[float]]) -> dict[str, dict]:
    """Turn seconds into the entries of `bench.json`."""
    fp32 = times['anchor float32', STEPS]
    found = {'inference.fp32': entry(times['float32', STEPS], fp32)}
    bf16 = times.get(('bfloat16', STEPS))
    if bf16 is None:
        skipped = {'skipped': bfloat16_slower(FULL_WIDTH)}
        return found | {'inference.bf16': skipped, 'inference.default': skipped}
    found['inference.bf16'] = entry(bf16, times['anchor bfloat16', STEPS])
    found['inference.default'] = entry(bf16, fp32)
    return found


def exact(times: dict[tuple[str, int], list[float]]) -> dict[str, dict]:
    """Return the entries of ten steps: the fastest without integers, and int8 in all layers."""
    fp32, there = times['anchor float32', STEPS], [k for k in ROUNDED_LAST if (k, STEPS) in times]
    best = min((k for k in there if k != 'int8'), key=lambda k: np.median(times[k, STEPS]))
    found = {'inference.exact': entry(times[best, STEPS], fp32, dtype=best)}
    if 'int8' in there:
        return found | {'inference.int8': entry(times['int8', STEPS], fp32)}
    return found | {'inference.int8': {'skipped': 'this torch has no integer products'}}


def tuned(knobs_entry: dict, bound_mm: float = 1.0, bound_deg: float = 0.5) -> dict:
    """Return what `xvla tune` chooses for the demo policy, where it is within the bound."""
    off = knobs_entry.get('deviation_mm', np.inf), knobs_entry.get('deviation_deg', np.inf)
    if off[0] <= bound_mm and off[1] <= bound_deg:
        return knobs_entry
    return {'skipped': f'not within {bound_mm} mm and {bound_deg} degrees of ten fp32 steps'}


def knobs(times: dict[tuple[str, int], list[float]], traded: Trade) -> dict:
    """Return the entry of the fastest settings, at the steps that the demo policy needed."""
    if bfloat16_slower(FULL_WIDTH):
        return {'skipped': bfloat16_slower(FULL_WIDTH)}
    steps = steps_needed(traded)
    return entry(
        times['bfloat16', steps],
        times['anchor float32', STEPS],
        steps=steps,
        deviation_mm=round(traded.deviation.position_mm, 4),
        deviation_deg=round(traded.deviation.rotation_deg, 4),
        observations=len(traded.steps),
    )


def entry(ours: list[float], anchor: list[float], **others: object) -> dict:
    """Compare two lists of seconds by their medians."""
    mine, theirs = float(np.median(ours)) * 1e3, float(np.median(anchor)) * 1e3
    return {
        'ours': round(mine, 3),
        'anchor': round(theirs, 3),
        'ratio': round(theirs / mine, 3),
        'unit': 'ms',
        'n': len(ours),
        **others,
    }


def preprocess() -> dict:
    """Measure three 640x480 views, ours against Pillow's bicubic, one thread each, in turns."""
    generator = np.random.default_rng(SEED)
    views = [generator.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(3)]
    processor = ImageProcessor()
    mean, std = (np.float32(values) * 255 for values in (processor.mean, processor.std))

    def pillow() -> np.ndarray:
        small = [np.asarray(Image.fromarray(v).resize((224, 224), Image.BICUBIC)) for v in views]
        return ((np.stack(small).astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        off = np.abs(processor(views).numpy() - pillow()) * std[:, None, None]
        ours, anchor = [], []
        for _ in range(IMAGE_REPEATS):
            anchor.append(clocked(pillow))
            ours.append(clocked(lambda: processor(views)))
    finally:
        torch.set_num_threads(threads)
    return entry(ours, anchor, grey_levels=round(float(off.max()), 3))


def clocked(call: Callable[[], object]) -> float:
    """Return how long a call takes [s]."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run(out: Path = ROOT / 'out') -> dict[str, dict]:
    """Return the figures whose names begin with `inference.`."""
    found = {'inference.preprocess': preprocess()}
    try:
        traded = fast_trade()
    except XvlaError as error:
        times = networks(out)
        skipped = {'skipped': str(error)}
        found |= entries(times) | exact(times)
        return found | {'inference.knobs': skipped, 'inference.tuned': skipped}
    times = networks(out, steps_needed(traded))
    fast = knobs(times, traded)
    found |= entries(times) | exact(times)
    return found | {'inference.knobs': fast, 'inference.tuned': tuned(fast)}
