# SPDX-License-Identifier: Apache-2.0
"""Loads a policy from a checkpoint directory."""

from pathlib import Path

import numpy as np
import torch

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.backends.choice import AUTO, chosen_backend, TORCH
from xvla_ros.model.backends.exported import load_exported, read_manifest
from xvla_ros.model.backends.int8 import pack_int8, read_float_layers
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.florence import text_settings
from xvla_ros.model.image_settings import read_image_processor
from xvla_ros.model.inspection import trained_domains
from xvla_ros.model.lora import read_adapter
from xvla_ros.model.normalisation import read_normalisation
from xvla_ros.model.packing import pack
from xvla_ros.model.policy import Policy
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.reading import read_config
from xvla_ros.model.sources import find_sources
from xvla_ros.model.tokenizer import load_tokenizer, TextProcessor
from xvla_ros.model.xvla import check_sequence

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'int8': torch.int8}


def load_policy(
    path: str | Path,
    device: str = 'cpu',
    dtype: str = 'float32',
    adapter: str | Path | None = None,
    backend: str = AUTO,
) -> Policy:
    """
    Load a checkpoint directory in any published layout, or one that `xvla export` wrote.

    The policy can predict, but not train.

    :param path: may hold a LoRA adapter that names its base; both are merged.
    :param dtype: `float32`, `bfloat16` or `int8`, the number format of matrix products.
    :param adapter: directory of a LoRA adapter (PEFT's layout) to merge.
    :param backend: `auto`, `torch`, `onnxruntime` or `openvino`, see `chosen_backend`.
    :raises CheckpointError: the directory is incomplete or does not fit its own config, or the
        device is not there.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f'dtype {dtype!r} is unknown; known: {", ".join(DTYPES)}')
    folder = checkpoint_folder(path)
    backend = chosen_backend(folder, backend, dtype, device)
    if backend != TORCH:
        return _load_graphs(folder, device, dtype, adapter, backend)
    check_device(device)
    sources = find_sources(path, adapter)
    config = read_config(sources.settings)
    images, text = read_processors(sources.settings, config, sources.words)
    lora = read_adapter(sources.adapter)
    network = load_network(sources.weights, config, torch.float32, lora)
    trained = trained_domains(network, lora)
    lengths = network.dim_proprio, network.mode.real_dim
    normalisation = read_normalisation(sources.settings, config, *lengths)
    if dtype == 'int8':
        pack_int8(network, device, read_float_layers(sources.settings))
    else:
        pack(network, DTYPES[dtype], device)
    policy = Policy(network, images, text, device, trained, normalisation)
    check_geometry(policy)
    return policy


def _load_graphs(
    path: Path, device: str, dtype: str, adapter: str | Path | None, backend: str
) -> Policy:
    """Load an exported folder; tensors between its graphs stay on the CPU."""
    if adapter is not None:
        raise CheckpointError(f'{path}: holds graphs; give the adapter to xvla export')
    config = read_config(path)
    images, text = read_processors(path, config)
    network = load_exported(path, config, backend, device, dtype)
    lengths = network.dim_proprio, network.mode.real_dim
    normalisation = read_normalisation(path, config, *lengths)
    trained = read_manifest(path).trained_domains
    policy = Policy(network, images, text, 'cpu', trained, normalisation)
    check_geometry(policy)
    return policy


def read_processors(
    path: Path, config: NetworkConfig, words: Path | None = None
) -> tuple[ImageProcessor, TextProcessor]:
    """
    Read a checkpoint's image processor and tokenizer.

    :param words: folder of the tokenizer, if it is another one.
    :raises CheckpointError: a file is missing, cannot be read or does not fit the network.
    """
    images = read_image_processor(path, config)
    vocabulary = text_settings(config.florence.get('text_config') or {})['vocab_size']
    return images, load_tokenizer(words or path, config.text_length, vocabulary)


def check_device(device: str) -> None:
    """Refuse a missing device before the weights are read."""
    exact_float32()
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f'device {device!r}: {reason}; expected cpu, or cuda where torch sees a GPU'
        ) from None


def exact_float32() -> None:
    """Stop a GPU from rounding float32 to TF32, torch's default in convolutions."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def check_geometry(policy: Policy) -> None:
    """Refuse a checkpoint whose sequence is longer than its positions."""
    height, width = policy.images.size
    blank = np.zeros((height, width, 3), np.uint8)
    with torch.inference_mode():
        views = policy.view_features([blank])
    context = views.shape[1] * views.shape[2] + policy.config.text_length
    check_sequence(policy.config, context)
