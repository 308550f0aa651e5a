# SPDX-License-Identifier: Apache-2.0
"""
Everything that is to be measured on a GPU, as one table: `.venv/bin/python -m bench.gpu.measure`.

It needs an NVIDIA GPU with 12 GB, torch with CUDA, and for one row onnxruntime-gpu with the
packages of `pip install "xvla_ros[export]"`. It has never run: no GPU was at hand. It is made to
take under eight minutes; a row that fails says why and the others go on. float32 rows multiply
and convolve in float32: TF32 is off, and that is checked, not assumed.

Rows: parity with the processor's float32 answer, eager float32, eager bfloat16, the recorded CUDA
graph, `torch.compile`, ONNX Runtime with CUDA; the roofline is that of bench/inference_gpu.py.
"""

from collections.abc import Callable
from pathlib import Path
import statistics
import sys
import tempfile
import time

import numpy as np
import torch

from bench.inference_gpu import gpu_batch, roofline_s, seconds
from bench.parity import seeded_network, STEPS
from bench.reference_network import VIEWS
from xvla_ros.model.backends.export import write_onnx
from xvla_ros.model.backends.exported import ExportedNetwork
from xvla_ros.model.backends.pieces import pieces
from xvla_ros.model.backends.runtimes import ONNXRUNTIME, runner
from xvla_ros.model.cuda_graph import CapturedAnswer
from xvla_ros.model.forward import answer, Batch, Geometry
from xvla_ros.model.loading import exact_float32
from xvla_ros.model.packing import pack
from xvla_ros.model.sampler import flow_times
from xvla_ros.model.xvla import XVLA

REPEATS, WARM = 20, 3
IMAGE_SIZE = (224, 224)
TIMES = flow_times(STEPS)
GEOMETRY = Geometry(views=(VIEWS,), times=TIMES)

Call = Callable[[], torch.Tensor]


def uses_tf32() -> list[str]:
    """Return where float32 would silently be rounded to TF32."""
    flags = {
        'products': torch.backends.cuda.matmul.allow_tf32,
        'convolutions': torch.backends.cudnn.allow_tf32,
    }
    return [name for name, on in flags.items() if on]


def network_on(dtype: torch.dtype, device: str) -> XVLA:
    """Build the seeded full-size network, ready to answer on a device."""
    network = seeded_network('full')
    pack(network, dtype, device)
    return network.to(device)


def eager(dtype: torch.dtype) -> Call:
    """Return the plain run."""
    network = network_on(dtype, 'cuda')
    batch = gpu_batch(network, TIMES)
    return lambda: answer(network, batch, GEOMETRY)[0]


def graph() -> Call:
    """Return the recorded run in bfloat16."""
    network = network_on(torch.bfloat16, 'cuda')
    batch = gpu_batch(network, TIMES)
    captured = CapturedAnswer(network, batch, GEOMETRY)
    return lambda: captured(batch)


def compiled() -> Call:
    """Return the run in bfloat16 with the blocks of the head compiled."""
    network = network_on(torch.bfloat16, 'cuda')
    batch = gpu_batch(network, TIMES)
    run = torch.compile(lambda: answer(network, batch, GEOMETRY)[0], dynamic=False)
    return lambda: run()


def onnxruntime() -> Call:
    """Return the exported graphs, float32, by ONNX Runtime on the GPU."""
    network = seeded_network('full')
    folder = Path(tempfile.mkdtemp())
    for part in pieces(network, IMAGE_SIZE):
        write_onnx(folder / f'{part.name}.onnx', part)
    files = sorted(folder.glob('*.onnx'))
    runners = {file.stem: runner(ONNXRUNTIME, file, 'cuda') for file in files}
    words = network.vlm.language_model.shared.weight.numpy()
    exported = ExportedNetwork(network.config, words, runners)
    batch = Batch(*(t.cpu() for t in gpu_batch(network.to('cuda'), TIMES)))
    return lambda: answer(exported, batch, GEOMETRY)[0]


def row(name: str, make: Callable[[], Call], expected: np.ndarray, floor_s: float) -> str:
    """Measure one way; return its line of the table."""
    try:
        call = make()
        for _ in range(WARM):
            chunk = call()
        apart = float(np.abs(chunk.float().cpu().numpy() - expected).max())
        took = statistics.median(seconds(call) for _ in range(REPEATS))
    except Exception as error:  # a row must not cost the others
        return f'| {name} | {type(error).__name__}: {str(error).splitlines()[0][:80]} | | |'
    return f'| {name} | {1e3 * took:.1f} | {took / floor_s:.2f} | {apart:.1e} |'


def main() -> int:
    """Measure, and print the table; 1 without a GPU or with TF32."""
    exact_float32()
    if not torch.cuda.is_available():
        print('bench.gpu: needs an NVIDIA GPU and torch with CUDA; nothing was measured')
        return 1
    if found := uses_tf32():
        print(f'bench.gpu: float32 {", ".join(found)} are TF32; nothing was measured')
        return 1
    began = time.monotonic()
    ways = {
        'float32, eager': lambda: eager(torch.float32),
        'bfloat16, eager': lambda: eager(torch.bfloat16),
        'bfloat16, CUDA graph': graph,
        'bfloat16, torch.compile': compiled,
        'float32, ONNX Runtime CUDA': onnxruntime,
    }
    with torch.inference_mode():
        network = network_on(torch.float32, 'cpu')
        batch = Batch(*(t.cpu() for t in gpu_batch(seeded_network('full').to('cuda'), TIMES)))
        expected = answer(network, batch, GEOMETRY)[0].numpy()
        floor_s = roofline_s(network_on(torch.bfloat16, 'cuda'))
        print(f'{torch.cuda.get_device_name()}; roofline in bfloat16 {1e3 * floor_s:.1f} ms')
        print('| way | ms | over the roofline | from the CPU float32 answer |\n|---|---|---|---|')
        for name, make in ways.items():
            print(row(name, make, expected, floor_s), flush=True)
            torch.cuda.empty_cache()
    print(f'{time.monotonic() - began:.0f} s in all')
    return 0


if __name__ == '__main__':
    sys.exit(main())
