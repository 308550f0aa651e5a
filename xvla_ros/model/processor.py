# SPDX-License-Identifier: Apache-2.0
"""Converts camera images to the network's input, as X-VLA's processor does."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional as F

from xvla_ros.core.errors import ObservationError

# ImageNet statistics and size (preprocessor_config.json of 2toINF/X-VLA-*).
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
IMAGE_SIZE = (224, 224)
# Pillow's code for bicubic, the only resampling X-VLA was trained with.
BICUBIC = 3
# Images with longer sides are refused.
LARGEST_SIDE = 8192


class ImageProcessor:
    """
    Resizes an RGB image to the network's size without keeping its aspect ratio, and normalises it.

    The image stays uint8 until it is small. Resizing is bicubic with antialiasing, equal to
    Pillow's within one grey level, and several times faster.

    :param size: (height, width) in pixels.
    :param letterbox: keep the aspect ratio, as lerobot does.
    """

    def __init__(
        self,
        size: tuple[int, int] = IMAGE_SIZE,
        mean: Sequence[float] = IMAGE_MEAN,
        std: Sequence[float] = IMAGE_STD,
        letterbox: bool = False,
    ) -> None:
        self.size, self.letterbox = size, letterbox
        self.mean, self.std = tuple(mean), tuple(std)
        scale = torch.tensor(std) * 255.0
        self.scale = (1.0 / scale).view(1, 3, 1, 1)
        self.shift = (torch.tensor(mean) * 255.0 / scale).view(1, 3, 1, 1)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Return (N, 3, height, width) float32, normalised, of N images (H, W, 3) uint8 RGB."""
        for index, image in enumerate(images):
            check_image(image, index)
        if self.letterbox:
            return torch.cat([self._letterboxed(image) for image in images])
        return self.normalise(torch.cat([self.resize(image) for image in images]))

    def resize(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Return (1, 3, height, width) uint8."""
        tensor = planes(image)
        if tuple(tensor.shape[-2:]) == self.size:
            return tensor
        return F.interpolate(tensor, self.size, mode='bicubic', antialias=True)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scale uint8 pixels (N, 3, H, W) by the ImageNet statistics."""
        return pixels.float().mul_(self.scale).sub_(self.shift).contiguous()

    def _letterboxed(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Normalise, shrink bilinearly, and pad left and top with zeros, as lerobot does."""
        pixels = self.normalise(planes(image))
        height, width = pixels.shape[-2:]
        ratio = max(width / self.size[1], height / self.size[0])
        inner = (max(1, int(height / ratio)), max(1, int(width / ratio)))
        pixels = F.interpolate(pixels, inner, mode='bilinear', align_corners=False)
        return F.pad(pixels, (self.size[1] - inner[1], 0, self.size[0] - inner[0], 0))


def planes(image: NDArray[np.uint8]) -> torch.Tensor:
    """View an (H, W, 3) image as (1, 3, H, W), channels last in memory."""
    # Copy a read-only array: torch has no read-only tensors and warns.
    array = np.ascontiguousarray(image) if image.flags.writeable else image.copy()
    return torch.from_numpy(array).permute(2, 0, 1)[None]


def check_image(image: NDArray[np.uint8], index: int) -> None:
    """Refuse everything but an RGB image of bytes. A string is never opened as a path."""
    if not isinstance(image, np.ndarray):
        raise ObservationError(
            f'image {index} is a {type(image).__name__}, expected an array (H, W, 3) of uint8 RGB'
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ObservationError(
            f'image {index} is {image.shape} {image.dtype}, expected (H, W, 3) uint8 RGB'
        )
    if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= LARGEST_SIDE:
        raise ObservationError(
            f'image {index} is {image.shape[1]}x{image.shape[0]} pixels, '
            f'expected sides of 1 to {LARGEST_SIDE}'
        )
