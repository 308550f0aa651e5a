# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint as graphs for ONNX Runtime or OpenVINO, and compares them with torch."""

from collections.abc import Sequence
from dataclasses import replace
import logging
from pathlib import Path
import shutil
from typing import Any
import warnings

import numpy as np
import torch

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.backends.exported import (
    arrays_of,
    load_exported,
    Manifest,
    SUFFIXES,
    WORDS,
    write_manifest,
)
from xvla_ros.model.backends.network import Network
from xvla_ros.model.backends.pieces import Piece, pieces, TIME
from xvla_ros.model.backends.runtimes import ONNXRUNTIME, OPENVINO, required
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.config import authors_json
from xvla_ros.model.conversion import PROCESSOR_FILES, write_companions
from xvla_ros.model.forward import answer, Batch, Geometry
from xvla_ros.model.image_settings import read_image_processor
from xvla_ros.model.inspection import trained_domains
from xvla_ros.model.lora import read_adapter
from xvla_ros.model.reading import read_config
from xvla_ros.model.sampler import flow_times
from xvla_ros.model.writing import write_json
from xvla_ros.model.xvla import XVLA

# Version of ONNX's operators: the newest one that the exporter's optimisation is tested with.
OPSET = 18
# The largest allowed differences of an export from torch in float32, by the compared output.
ALLOWED = {'features': 1e-4, 'actions': 1e-3}
STEPS = 10
# The runtime that compares a format with torch.
CHECKED_BY = {'onnx': ONNXRUNTIME, 'openvino': OPENVINO}


def export(
    source: str | Path, target: str | Path, format: str, adapter: str | Path | None = None
) -> Manifest:
    """
    Export a checkpoint.

    :param target: a folder that does not exist yet or is empty.
    :param format: `onnx` or `openvino`.
    :param adapter: folder of a LoRA adapter to merge first.
    :raises CheckpointError: a package is missing, or the graphs differ too much from torch.
    """
    source, target = checkpoint_folder(source), Path(target)
    if format not in SUFFIXES:
        raise CheckpointError(f'format {format!r} is unknown; known: {", ".join(SUFFIXES)}')
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f'{target}: is not an empty directory')
    for package in ('onnx', 'onnxscript', CHECKED_BY[format]):
        required(package, f'xvla export --format {format}')
    config, lora = read_config(source), read_adapter(adapter)
    images = read_image_processor(source, config)
    network = load_network(source, config, torch.float32, lora)
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / 'config.json', authors_json(config))
    write_companions(target, images, source)
    for file in source.glob(PROCESSOR_FILES):
        shutil.copy(file, target / file.name)
    parts = pieces(network, images.size)
    write_graphs(target, network, parts, format)
    manifest = Manifest(
        format=format,
        dtype='float32',
        trained_domains=trained_domains(network, lora),
        errors={},
        tensors={part.name: tensors_of(part) for part in parts},
        versions={'torch': torch.__version__, 'opset': str(OPSET)},
    )
    write_manifest(target, manifest)
    return check(target, network, images.size, manifest)


def write_graphs(target: Path, network: XVLA, parts: Sequence[Piece], format: str) -> None:
    """Write one graph per piece, weights beside it, and the table of token embeddings."""
    for part in parts:
        write_onnx(target / f'{part.name}.onnx', part)
        if format == 'openvino':
            to_openvino(target / f'{part.name}.onnx')
    table = network.vlm.language_model.shared.weight.detach()
    np.save(target / WORDS, table.numpy())


def write_onnx(file: Path, part: Piece) -> None:
    """Write a piece as an ONNX file, its weights in a second file beside it."""
    rows = torch.export.Dim('rows', min=1, max=4096)
    shapes = {name: {} if name == TIME else {0: rows} for name in part.inputs}
    logger = logging.getLogger('torch.onnx')
    before = logger.level
    logger.setLevel(logging.ERROR)  # it misses torchvision, which is not used
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            program: Any = torch.onnx.export(
                part.module.eval(),
                tuple(part.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                verbose=False,
            )
    finally:
        logger.setLevel(before)
    program.save(str(file), external_data=True)


def to_openvino(file: Path) -> None:
    """Replace an ONNX file by OpenVINO's own pair of files."""
    openvino = required(OPENVINO, 'xvla export --format openvino')
    model = openvino.convert_model(str(file))
    openvino.save_model(model, str(file.with_suffix('.xml')), compress_to_fp16=False)
    del model
    file.unlink()
    file.with_name(f'{file.name}.data').unlink(missing_ok=True)


def tensors_of(part: Piece) -> dict[str, dict[str, list[Any]]]:
    """Describe a piece's tensors: dtype and shape by name, the free first axis as `rows`."""

    def described(tensor: torch.Tensor, fixed: bool) -> list[Any]:
        first, *rest = tensor.shape
        return [str(tensor.dtype).removeprefix('torch.'), first if fixed else 'rows', *rest]

    with torch.no_grad():
        out = part.module(*part.inputs.values())
    outputs = out if isinstance(out, tuple) else (out,)
    return {
        'inputs': {n: described(t, n == TIME) for n, t in part.inputs.items()},
        'outputs': {n: described(t, False) for n, t in zip(part.outputs, outputs, strict=True)},
    }


def check(target: Path, network: XVLA, size: tuple[int, int], manifest: Manifest) -> Manifest:
    """
    Compare exported graphs with torch, and note the differences in the folder.

    :raises CheckpointError: they differ by more than ALLOWED.
    """
    exported = load_exported(target, network.config, CHECKED_BY[manifest.format])
    errors = dict.fromkeys(ALLOWED, 0.0)
    for part in pieces(network, size, rows=1)[:2]:
        theirs = exported.runners[part.name](arrays_of(part.inputs))
        errors['features'] = max(errors['features'], apart(part, theirs))
    chunks = [chunks_of(made, network, size) for made in (network, exported)]
    errors['actions'] = float(np.abs(chunks[0] - chunks[1]).max())
    for name, limit in ALLOWED.items():
        if not errors[name] <= limit:
            raise CheckpointError(
                f'{target}: {name} differ from torch by {errors[name]:.1e}, allowed {limit:.0e}'
            )
    checked = replace(manifest, errors=errors)
    write_manifest(target, checked)
    return checked


@torch.no_grad()
def apart(part: Piece, theirs: list[Any]) -> float:
    """Return the largest difference of a piece's outputs from torch."""
    out = part.module(*part.inputs.values())
    ours = out if isinstance(out, tuple) else (out,)
    return max(float(np.abs(a.numpy() - b).max()) for a, b in zip(ours, theirs, strict=True))


@torch.no_grad()
def chunks_of(network: Network, source: XVLA, size: tuple[int, int]) -> Any:
    """Answer two seeded questions with different numbers of views: (2, T, real_dim)."""
    config, random = source.config, torch.Generator().manual_seed(1)
    views, rows, times = (1, config.view_slots), 2, flow_times(STEPS)
    shape = (rows, config.num_actions, source.mode.dim)
    ids = torch.ones(rows, config.text_length, dtype=torch.int64)
    batch = Batch(
        pixels=torch.randn((sum(views), 3, *size), generator=random),
        words=network.text_features(ids),
        state=torch.randn((rows, source.dim_proprio), generator=random),
        domain=torch.arange(rows) % config.num_domains,
        noise=torch.randn(shape, generator=random),
        plan=torch.zeros(shape),
        times=torch.tensor(times),
    )
    return answer(network, batch, Geometry(views=views, times=times))[0].numpy()
