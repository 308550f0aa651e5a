# SPDX-License-Identifier: Apache-2.0
"""Chooses the backend for a folder: the requested one, or the fastest possible."""

from collections.abc import Callable, Mapping
import hashlib
from importlib.metadata import version
from importlib.util import find_spec
import logging
from pathlib import Path

import numpy as np

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.backends.exported import is_exported, MANIFEST, read_manifest, SUFFIXES
from xvla_ros.model.backends.pieces import STEP
from xvla_ros.model.backends.runtimes import READS, required, runner
from xvla_ros.model.measured import fastest, listed, measured, Measurement, Question

AUTO, TORCH = 'auto', 'torch'
BACKENDS = (AUTO, TORCH, *READS)


def chosen_backend(folder: Path, backend: str, dtype: str = 'float32', device: str = 'cpu') -> str:
    """
    Return the backend that runs a checkpoint or an exported folder.

    :param backend: one of BACKENDS; `auto` is torch for a checkpoint. For exported graphs it is
        the runtime with the fastest denoising step, measured once per machine.
    :raises CheckpointError: there is no such backend, or it cannot run this folder.
    """
    if backend not in BACKENDS:
        raise CheckpointError(f'backend {backend!r} is unknown; known: {", ".join(BACKENDS)}')
    if not is_exported(folder):
        if backend in READS:
            raise CheckpointError(
                f'{folder}: backend {backend} runs exported graphs, and this is a checkpoint: '
                f'xvla export {folder} --format onnx --out DIR'
            )
        return TORCH
    if backend == TORCH:
        raise CheckpointError(f'{folder}: holds exported graphs, which backend torch does not run')
    return _runtime(folder, backend, dtype, device)


def _runtime(folder: Path, backend: str, dtype: str, device: str) -> str:
    """Return the runtime of an exported folder."""
    manifest = read_manifest(folder)
    if (manifest.dtype == 'int8') != (dtype == 'int8'):
        raise CheckpointError(
            f'{folder}: its graphs are {manifest.dtype}, the dtype asked for is {dtype}'
        )
    suffix = SUFFIXES[manifest.format]
    able = [name for name, suffixes in READS.items() if suffix in suffixes]
    if dtype == 'bfloat16' or device != 'cpu':  # one of the two can: no choice
        able = [name for name in able if (name == 'openvino') == (device == 'cpu')]
    if backend != AUTO:
        if suffix not in READS[backend]:
            raise CheckpointError(f'{folder}: backend {backend} does not read {manifest.format}')
        required(backend, f'backend {backend}')
        return backend
    there = [name for name in able if find_spec(name)]
    if not there:
        required(able[0], f'{folder}: exported as {manifest.format}, which')
    if len(there) == 1:
        return there[0]
    answer = backend_times(folder, there, dtype)
    choice = fastest(answer.seconds, there)
    logging.getLogger(__name__).info('backend %s: one step takes %s', choice, listed(answer))
    return choice


def backend_times(folder: Path, backends: list[str], dtype: str) -> Measurement:
    """Return how long one denoising step of a folder takes with each backend, one thread."""
    facts = [(folder / MANIFEST).read_text(), dtype, *(version(name) for name in backends)]
    digest = hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:12]
    question = Question(
        name=f'backend-{digest}',
        ways=tuple(backends),
        prepare=lambda: _steps(folder, backends, dtype),
        sizes=(1,),
    )
    return measured(question)


def _steps(folder: Path, backends: list[str], dtype: str) -> Mapping[str, Callable[[int], object]]:
    """Return a denoising step of zeros with each backend."""
    manifest = read_manifest(folder)
    file = folder / f'{STEP}{SUFFIXES[manifest.format]}'
    inputs = {
        name: np.zeros([1 if size == 'rows' else size for size in shape], kind)
        for name, (kind, *shape) in manifest.tensors[STEP]['inputs'].items()
    }

    def way(backend: str) -> Callable[[int], object]:
        run = runner(backend, file, dtype=dtype)
        return lambda _: run(inputs)

    return {backend: way(backend) for backend in backends}
