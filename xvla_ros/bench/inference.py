# SPDX-License-Identifier: Apache-2.0
"""
make bench --only inference: our inference against lerobot's published X-VLA (0.4.4) at full size.

Both have the same seeded random weights, three valid views, 50 text tokens, 10 denoising steps and
all cores: they take turns, each waiting for the other, and the median counts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import torch

from xvla_ros.bench.parity import our_outputs, ROOT, SEED, seeded_network
from xvla_ros.bench.reference_network import seeded_inputs
from xvla_ros.model.packing import bfloat16_lacking, pack
from xvla_ros.model.processor import ImageProcessor

ROUNDS = 3
IMAGE_REPEATS = 30


class Published:
    """The published network in its own environment, answering on a pipe."""

    def __init__(self, dtypes: list[str], threads: int, log: Path) -> None:
        subprocess.run([ROOT / 'scripts' / 'bootstrap-reference'], check=True)
        command = [
            ROOT / '.venv-reference' / 'bin' / 'python',
            Path(__file__).with_name('reference_run.py'),
            *('--size', 'full', '--seed', SEED, 'serve'),
            *('--threads', threads, '--dtypes', *dtypes),
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
        """Return how long one chunk took it, measured by itself."""
        self.process.stdin.write(f'{dtype}\n')
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


@contextmanager
def published(dtypes: list[str], threads: int, log: Path) -> Iterator[Published]:
    """Hold the published network for a while."""
    running = Published(dtypes, threads, log)
    try:
        yield running
    finally:
        running.close()


def our_chunk(dtype: torch.dtype, steps: int = 10) -> Callable[[], float]:
    """Return a call that makes one chunk and says how long it took."""
    network = seeded_network('full')
    pack(network, dtype)
    data = seeded_inputs('full', 3, SEED)

    def once() -> float:
        start = time.perf_counter()
        our_outputs(network, data, steps, stages=False)
        return time.perf_counter() - start

    return once


def networks(out: Path) -> dict[str, dict]:
    """Measure whole chunks, ours and the published, taking turns."""
    lacking = bfloat16_lacking()
    dtypes = ['float32'] if lacking else ['float32', 'bfloat16']
    torch.set_num_threads(threads := torch.get_num_threads())
    ours = {name: our_chunk(getattr(torch, name)) for name in dtypes}
    times = {(side, name): [] for side in ('ours', 'anchor') for name in dtypes}
    with published(dtypes, threads, out / 'inference_anchor.log') as anchor:
        for turn in range(ROUNDS + 1):  # the first warms up
            for name in dtypes:
                for side, call in (
                    ('anchor', lambda n=name: anchor.seconds(n)),
                    ('ours', ours[name]),
                ):
                    seconds = call()
                    if turn:
                        times[side, name].append(seconds)
            print(f'inference: round {turn} of {ROUNDS}', file=sys.stderr, flush=True)
    return entries(times, lacking)


def entries(times: dict[tuple[str, str], list[float]], lacking: str | None) -> dict[str, dict]:
    """Turn seconds into the entries of `bench.json`."""
    fp32 = times['ours', 'float32'], times['anchor', 'float32']
    found = {'inference.fp32': entry(*fp32)}
    if lacking:
        return found | {
            'inference.bf16': {'skipped': lacking},
            'inference.default': {'skipped': lacking},
        }
    bf16 = times['ours', 'bfloat16']
    return found | {
        'inference.bf16': entry(bf16, times['anchor', 'bfloat16']),
        'inference.default': entry(bf16, fp32[1]),
    }


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
    """Return the seconds a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run(out: Path = ROOT / 'out') -> dict[str, dict]:
    """Measure everything under `inference.`."""
    return {'inference.preprocess': preprocess()} | networks(out)
