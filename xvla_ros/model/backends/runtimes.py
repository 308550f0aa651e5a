# SPDX-License-Identifier: Apache-2.0
"""Runs one exported graph with ONNX Runtime or OpenVINO; both are optional packages."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.core.errors import CheckpointError

Arrays = Mapping[str, NDArray[Any]]
# Runs a graph: takes arrays by input name and returns the outputs in order.
Runner = Callable[[Arrays], list[NDArray[Any]]]
ONNXRUNTIME, OPENVINO = 'onnxruntime', 'openvino'
# The suffixes of the files that each runtime reads.
READS = {ONNXRUNTIME: ('.onnx',), OPENVINO: ('.onnx', '.xml')}
CUDA_PROVIDER = 'CUDAExecutionProvider'
# OpenVINO's names of the number formats.
OPENVINO_DTYPES = {'float32': 'f32', 'bfloat16': 'bf16', 'int8': 'f32'}


def required(package: str, what: str) -> Any:
    """
    Import an optional package.

    :param what: the feature that needs it, for the message.
    :raises CheckpointError: it is not installed; the message has the command to install it.
    """
    if find_spec(package) is None:
        raise CheckpointError(
            f'{what} needs the package {package}: {sys.executable} -m pip install {package}'
        )
    return import_module(package)


def runner(backend: str, file: Path, device: str = 'cpu', dtype: str = 'float32') -> Runner:
    """
    Load a graph with as many threads as torch has.

    :raises CheckpointError: the runtime is missing, or lacks the device or dtype.
    """
    make = _onnxruntime if backend == ONNXRUNTIME else _openvino
    return make(file, device, dtype)


def _onnxruntime(file: Path, device: str, dtype: str) -> Runner:
    if dtype == 'bfloat16':
        raise CheckpointError(
            'backend onnxruntime computes in float32 or int8, not bfloat16: use torch or openvino'
        )
    ort = required(ONNXRUNTIME, 'backend onnxruntime')
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=_providers(ort, device))

    def run(arrays: Arrays) -> list[NDArray[Any]]:
        return session.run(None, dict(arrays))

    return run


def _providers(ort: Any, device: str) -> list[str]:
    if device == 'cpu':
        return ['CPUExecutionProvider']
    if CUDA_PROVIDER not in ort.get_available_providers():
        raise CheckpointError(
            f'device {device!r}: this onnxruntime has no {CUDA_PROVIDER}; expected cpu, or the '
            'package onnxruntime-gpu'
        )
    return [CUDA_PROVIDER, 'CPUExecutionProvider']


def _openvino(file: Path, device: str, dtype: str) -> Runner:
    if device != 'cpu':
        raise CheckpointError(f'device {device!r}: backend openvino runs on cpu here')
    core = required(OPENVINO, 'backend openvino').Core()
    settings = {
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        'INFERENCE_PRECISION_HINT': OPENVINO_DTYPES[dtype],
        # By default OpenVINO may also round the activations of a graph with int8 weights.
        'DYNAMIC_QUANTIZATION_GROUP_SIZE': '0' if dtype != 'int8' else '1024',
    }
    compiled = core.compile_model(str(file), 'CPU', settings)
    request, outputs = compiled.create_infer_request(), len(compiled.outputs)

    def run(arrays: Arrays) -> list[NDArray[Any]]:
        request.infer(dict(arrays), share_inputs=True)
        return [np.array(request.get_output_tensor(n).data) for n in range(outputs)]

    return run
