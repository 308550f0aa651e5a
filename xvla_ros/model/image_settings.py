# SPDX-License-Identifier: Apache-2.0
"""
A checkpoint's image settings: `preprocessor_config.json`, or `processor_config.json`.

The keys are those of transformers' CLIPImageProcessor. Settings with a step that X-VLA's
preprocessing lacks, or without one of its steps, are refused, because the network would get other
numbers than in training.
"""

from collections.abc import Mapping
import math
from pathlib import Path
from typing import Any

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.processor import (
    BICUBIC,
    IMAGE_MEAN,
    IMAGE_SIZE,
    IMAGE_STD,
    ImageProcessor,
)
from xvla_ros.model.reading import read_json

FILE = 'preprocessor_config.json'
# The file that transformers 5 writes instead, with the image settings in a block.
FILE_V5 = 'processor_config.json'
BLOCK = 'image_processor'
# Steps that every image gets and that cannot be switched off.
STEPS = ('do_resize', 'do_rescale', 'do_normalize')
RESCALE = 1 / 255


def read_image_processor(folder: Path, config: NetworkConfig) -> ImageProcessor:
    """Read the image settings; without a file, a lerobot checkpoint resizes as lerobot does."""
    if (folder / FILE).is_file():
        return image_processor(read_json(folder / FILE), str(folder / FILE))
    if (folder / FILE_V5).is_file():
        block = read_json(folder / FILE_V5).get(BLOCK)
        if not isinstance(block, Mapping):
            raise CheckpointError(f'{folder / FILE_V5}: has no block {BLOCK}')
        return image_processor(block, f'{folder / FILE_V5}: {BLOCK}')
    size = config.extra.get('resize_imgs_with_padding')
    if config.schema == 'lerobot' and size:
        return ImageProcessor(image_size(size, 'config.json'), letterbox=True)
    raise CheckpointError(
        f'{folder / FILE}: missing, and neither {FILE_V5} nor config.json says the image size'
    )


def image_processor(data: Mapping[str, Any], source: str) -> ImageProcessor:
    """
    Read parsed image settings; an absent or null setting is as in X-VLA.

    :raises CheckpointError: they differ from X-VLA's preprocessing.
    """
    given = {key: value for key, value in data.items() if value is not None}
    if 'size' in data and data['size'] is None:
        raise CheckpointError(f'{source}: size is null, expected height and width')
    size = image_size(given.get('size', IMAGE_SIZE), source)
    check_steps(given, size, source)
    mean = three_numbers(given.get('image_mean', IMAGE_MEAN), f'{source}: image_mean')
    std = three_numbers(given.get('image_std', IMAGE_STD), f'{source}: image_std')
    if min(std) <= 0:
        raise CheckpointError(f'{source}: image_std is {std}, expected numbers above 0')
    return ImageProcessor(size, mean, std, bool(given.get('letterbox', False)))


def check_steps(given: Mapping[str, Any], size: tuple[int, int], source: str) -> None:
    """Refuse steps that X-VLA lacks, and missing steps that it has."""
    for key in STEPS:
        if not given.get(key, True):
            raise CheckpointError(
                f'{source}: {key} is {given[key]!r}, expected true: the network takes images of '
                'one size, scaled to 0..1 and normalised'
            )
    if given.get('resample', BICUBIC) != BICUBIC:
        raise CheckpointError(
            f'{source}: resample is {given["resample"]!r}, expected {BICUBIC} (bicubic)'
        )
    if not math.isclose(given.get('rescale_factor', RESCALE), RESCALE, rel_tol=1e-6):
        raise CheckpointError(
            f'{source}: rescale_factor is {given["rescale_factor"]!r}, expected 1/255'
        )
    crop = given.get('crop_size', size)
    if given.get('do_center_crop', 'crop_size' in given) and image_size(crop, source) != size:
        raise CheckpointError(
            f'{source}: do_center_crop would cut images to {crop!r}, expected false: X-VLA '
            'squashes the whole image'
        )
    for key in given:
        known = (*STEPS, 'do_center_crop', 'do_convert_rgb')
        if key.startswith('do_') and key not in known and given[key]:
            raise CheckpointError(f'{source}: {key} is {given[key]!r}, expected false')


def image_size(size: Any, source: str) -> tuple[int, int]:
    """Read (height, width) in pixels from one number, two numbers or a block."""
    sides: Any = (size.get('height'), size.get('width')) if isinstance(size, Mapping) else size
    sides = (sides, sides) if isinstance(sides, (int, float)) else sides
    whole = isinstance(sides, (list, tuple)) and [is_side(side) for side in sides] == [True, True]
    if not whole:
        raise CheckpointError(f'{source}: size is {size!r}, expected height and width')
    return int(sides[0]), int(sides[1])


def is_side(value: Any) -> bool:
    """Say whether a value is a whole number of pixels, also as a float."""
    return type(value) in (int, float) and value > 0 and value == int(value)


def three_numbers(values: Any, where: str) -> tuple[float, ...]:
    """Read one number per colour."""
    numbers = isinstance(values, (list, tuple)) and [type(v) in (int, float) for v in values]
    if numbers != [True] * 3 or not all(math.isfinite(v) for v in values):
        raise CheckpointError(f'{where} is {values!r}, expected three numbers')
    return tuple(float(v) for v in values)
