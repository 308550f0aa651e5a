# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint directory to a policy that is ready to answer."""

from pathlib import Path

import numpy as np
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.florence import text_settings
from xvla_ros.model.inspection import trained_domains
from xvla_ros.model.lora import Adapter
from xvla_ros.model.packing import pack
from xvla_ros.model.policy import Policy
from xvla_ros.model.processor import image_processor, ImageProcessor, load_tokenizer
from xvla_ros.model.reading import read_config, read_json
from xvla_ros.model.xvla import check_sequence

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def load_policy(
    path: str | Path,
    device: str = 'cpu',
    dtype: str = 'float32',
    adapter: str | Path | None = None,
) -> Policy:
    """
    Load a checkpoint directory in any published layout, ready to answer but not to train.

    :param dtype: `float32` or `bfloat16`, what matrix products are computed in.
    :param adapter: directory of a LoRA adapter (PEFT's layout) to merge.
    :raises CheckpointError: the directory is incomplete or does not fit its own config, or the
        device is not there.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f'dtype {dtype!r} is unknown; known: {", ".join(DTYPES)}')
    check_device(device)
    path = Path(path)
    config = read_config(path)
    images = read_image_processor(path, config)
    vocabulary = text_settings(config.florence.get('text_config') or {})['vocab_size']
    text = load_tokenizer(path / 'tokenizer.json', config.text_length, vocabulary)
    lora = None if adapter is None else Adapter(Path(adapter))
    network = load_network(path, config, torch.float32, lora)
    trained = trained_domains(network, lora)
    pack(network, DTYPES[dtype], device)
    policy = Policy(network, images, text, device, trained)
    check_geometry(policy)
    return policy


def check_device(device: str) -> None:
    """Refuse a device that is not there before the weights are read."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f'device {device!r}: {reason}; expected cpu, or cuda where torch sees a GPU'
        ) from None


def read_image_processor(path: Path, config: NetworkConfig) -> ImageProcessor:
    """Read the image size; a lerobot checkpoint without the file resizes as lerobot does."""
    file = path / 'preprocessor_config.json'
    if file.is_file():
        return image_processor(read_json(file), str(file))
    size = config.extra.get('resize_imgs_with_padding')
    if config.schema == 'lerobot' and size:
        return ImageProcessor(tuple(size), letterbox=True)
    raise CheckpointError(f'{file}: missing, and config.json does not say the image size')


def check_geometry(policy: Policy) -> None:
    """Refuse a checkpoint whose sequence does not fit its positions, before the first image."""
    height, width = policy.images.size
    blank = np.zeros((height, width, 3), np.uint8)
    with torch.inference_mode():
        views = policy.view_features([blank])
    context = views.shape[1] * views.shape[2] + policy.config.text_length
    check_sequence(policy.config, context)
