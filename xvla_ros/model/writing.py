# SPDX-License-Identifier: Apache-2.0
"""Writes a trained network as a checkpoint directory in the authors' layout."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
import torch

from xvla_ros.model.checkpoint import save_network
from xvla_ros.model.config import authors_json
from xvla_ros.model.processor import BICUBIC, ImageProcessor
from xvla_ros.model.xvla import XVLA


def save_policy(
    path: str | Path,
    network: XVLA,
    tokenizer: Tokenizer,
    image_size: tuple[int, int] = (224, 224),
    dtype: torch.dtype | None = None,
) -> None:
    """
    Write `config.json`, `model.safetensors`, `tokenizer.json` and `preprocessor_config.json`.

    :param image_size: (height, width) the network was trained with, pixels.
    :param dtype: stored dtype; fp16 halves the file, and loading casts it back.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / 'config.json', authors_json(network.config))
    write_json(path / 'preprocessor_config.json', preprocessor_json(ImageProcessor(image_size)))
    tokenizer.save(str(path / 'tokenizer.json'))
    save_network(path, network, '2toinf', dtype)


def preprocessor_json(images: ImageProcessor) -> dict[str, Any]:
    """Describe the image preprocessing with CLIPImageProcessor's keys and one own key."""
    data = {
        'image_processor_type': 'CLIPImageProcessor',
        'do_resize': True,
        'size': {'height': images.size[0], 'width': images.size[1]},
        'resample': BICUBIC,
        'do_center_crop': False,
        'do_rescale': True,
        'do_normalize': True,
        'image_mean': list(images.mean),
        'image_std': list(images.std),
    }
    return data | ({'letterbox': True} if images.letterbox else {})


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write an indented JSON file."""
    path.write_text(json.dumps(data, indent=2) + '\n')
