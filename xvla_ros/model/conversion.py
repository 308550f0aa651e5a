# SPDX-License-Identifier: Apache-2.0
"""Rewrites a checkpoint directory in another layout."""

from dataclasses import replace
from pathlib import Path
import shutil
from typing import Any

import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.checkpoint import read_state, write_weights
from xvla_ros.model.config import authors_json, HEAD_DROPOUT, NetworkConfig
from xvla_ros.model.image_settings import read_image_processor
from xvla_ros.model.layouts import LAYOUTS
from xvla_ros.model.lora import read_adapter
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.reading import OWN, read_config, WeightFiles
from xvla_ros.model.sources import find_sources
from xvla_ros.model.writing import preprocessor_json, write_json
from xvla_ros.model.xvla import XVLA

# Camera names in lerobot's own conversions of X-VLA.
LEROBOT_CAMERAS = ('image', 'image2', 'image3')
COMPANIONS = (
    'tokenizer.json',
    'tokenizer_config.json',
    'vocab.json',
    'merges.txt',
    'added_tokens.json',
    'special_tokens_map.json',
)
# lerobot's processors with their statistics.
PROCESSOR_FILES = 'policy_*processor*'


def convert(
    source: str | Path,
    target: str | Path,
    layout: str,
    dtype: torch.dtype | None = None,
    adapter: str | Path | None = None,
) -> None:
    """
    Write a checkpoint in another layout; its outputs stay the same.

    :param target: a directory that does not exist yet or is empty.
    :param layout: `2toinf`, `lerobot` or `native`.
    :param dtype: cast the weights; None keeps the stored dtype.
    :param adapter: directory of a LoRA adapter to merge into the result.
    """
    sources, target = find_sources(source, adapter), Path(target)
    if layout not in LAYOUTS:
        raise CheckpointError(f'layout {layout!r} is unknown; known: {", ".join(LAYOUTS)}')
    if target.exists() and not target.is_dir():
        raise CheckpointError(f'{target}: is not a directory')
    if target.exists() and any(target.iterdir()):
        raise CheckpointError(f'{target}: is not empty')
    config = read_config(sources.settings)
    images = read_image_processor(sources.settings, config)
    lora = read_adapter(sources.adapter)
    with torch.device('meta'):
        network = XVLA(config)
    state = read_state(WeightFiles(sources.weights), network, dtype, lora)
    target.mkdir(parents=True, exist_ok=True)
    config = standard_proprio(config, network.mode.dim_proprio)
    usual = layout == '2toinf'
    data = authors_json(config) if usual else lerobot_json(config, network, images.size)
    write_json(target / 'config.json', data)
    if not usual:
        write_own(target, config)
    write_companions(target, images, sources.words)
    for file in sources.settings.glob(PROCESSOR_FILES):
        shutil.copy(file, target / file.name)
    write_weights(target, state, layout)


def write_companions(folder: Path, images: ImageProcessor, tokenizer: Path) -> None:
    """
    Write the files that a checkpoint needs beside its config and weights.

    :param tokenizer: folder from which the tokenizer's files are copied; may be the same one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMPANIONS:
        if (tokenizer / name).is_file() and tokenizer != folder:
            shutil.copy(tokenizer / name, folder / name)
    write_json(folder / 'preprocessor_config.json', preprocessor_json(images))


def write_own(folder: Path, config: NetworkConfig) -> None:
    """Write needed values that have no key in lerobot's schema to a file beside the config."""
    if config.first_anchor_index:
        write_json(folder / OWN, {'first_anchor_index': config.first_anchor_index})


def standard_proprio(config: NetworkConfig, usual: int) -> NetworkConfig:
    """Drop a proprioceptive length that equals the action mode's."""
    return replace(config, dim_proprio=None) if config.dim_proprio == usual else config


def lerobot_json(config: NetworkConfig, network: XVLA, size: tuple[int, int]) -> dict[str, Any]:
    """
    Write a config in lerobot's schema (policies/xvla/configuration_xvla.py).

    :param size: height and width to which images are resized, pixels.
    """
    data = authors_json(config)
    data['chunk_size'] = data['n_action_steps'] = data.pop('num_actions')
    cameras = [*LEROBOT_CAMERAS, *(f'image{n}' for n in range(4, config.view_slots + 1))]
    visual = {'type': 'VISUAL', 'shape': [3, *size]}
    features = {f'observation.images.{name}': visual for name in cameras[: config.view_slots]}
    features['observation.state'] = {'type': 'STATE', 'shape': [network.dim_proprio]}
    for key in ('model_type', 'architectures', 'real_action_dim', 'xvla_ros'):
        data.pop(key, None)
    ours = {'xvla_ros': {'head_dropout': config.head_dropout}}
    return (
        data
        | {
            'type': 'xvla',
            'input_features': features,
            'output_features': {'action': {'type': 'ACTION', 'shape': [network.mode.real_dim]}},
            'max_state_dim': network.dim_proprio,
            'tokenizer_max_length': config.text_length,
            'tokenizer_name': config.extra.get('tokenizer_name', 'facebook/bart-large'),
            'num_image_views': config.view_slots,
            'resize_imgs_with_padding': list(size),
            # The authors store this key but never read it; lerobot drops the state if it is false.
            'use_proprio': network.dim_proprio > 0,
        }
        | (ours if config.head_dropout != HEAD_DROPOUT else {})
    )
