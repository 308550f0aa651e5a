# SPDX-License-Identifier: Apache-2.0
"""Recorded samples of one robot: images, arm state, and the expert's plans."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import EE6D_SIZE
from xvla_ros.core.errors import CheckpointError

DESCRIPTION = 'samples.json'


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleLayout:
    """
    Sizes of one robot's samples.

    side: of the images, pixels. width: numbers of a state and of an action.
    """

    robot: str
    domain_id: int
    count: int
    views: int
    colours: int
    anchors: int
    side: int
    width: int = EE6D_SIZE

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return the shape and type of each array, see `Samples`."""
        n, v, c = self.count, self.views, self.colours
        return {
            'images': ((n, v, self.side, self.side, 3), 'uint8'),
            'proprio': ((n, self.width), 'float32'),
            'actions': ((n, c, self.anchors, self.width), 'float32'),
            'pixels': ((n, v, c, 2), 'float32'),
            'blocks': ((n, c, 3), 'float32'),
            'scene': ((n,), 'int32'),
        }


class Samples:
    """
    One robot's samples, memory-mapped; nothing is read before it is asked for.

    images: (N, V, side, side, 3) uint8 RGB, resized as inference does. proprio: (N, width), EE6D
    in metres and base frame, or joints in the model's units. actions: (N, C, 30, width), the
    expert's plan towards each colour's block from the state in the images, in the same numbers;
    NaN where the scene lacks the block. pixels: (N, V, C, 2) where each block's centre is seen, x
    and y from 0 to 1 across the image, NaN when it is not in view. blocks: (N, C, 3) block
    centres, metres, world. scene: (N,) number of the scene.
    """

    def __init__(self, path: Path, layout: SampleLayout, mode: str) -> None:
        self.path, self.layout = path, layout
        maps = {
            name: open_array(path / f'{name}.npy', mode, dtype, shape)
            for name, (shape, dtype) in layout.arrays().items()
        }
        self.images, self.proprio, self.actions = maps['images'], maps['proprio'], maps['actions']
        self.pixels, self.blocks, self.scene = maps['pixels'], maps['blocks'], maps['scene']
        self._maps = maps

    def __len__(self) -> int:
        """Return how many samples there are."""
        return self.layout.count

    def write(self, index: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Store one sample; every array must be given."""
        for name, array in self._maps.items():
            array[index] = values[name]

    def of_scenes(self, first: int, last: int) -> NDArray[np.intp]:
        """Return the indices of samples whose scene number is in [first, last)."""
        return np.flatnonzero((self.scene >= first) & (self.scene < last))


def create_samples(path: Path, layout: SampleLayout) -> Samples:
    """Create arrays for samples in a new or reused folder."""
    path.mkdir(parents=True, exist_ok=True)
    (path / DESCRIPTION).write_text(
        json.dumps({name: getattr(layout, name) for name in SampleLayout.__slots__}) + '\n'
    )
    return Samples(path, layout, 'w+')


def open_samples(path: Path) -> Samples:
    """
    Open a folder of samples for reading.

    :raises CheckpointError: the folder holds none.
    """
    try:
        layout = SampleLayout(**json.loads((path / DESCRIPTION).read_text()))
        return Samples(path, layout, 'r')
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f'{path}: not a folder of samples: {error}') from error


def open_array(file: Path, mode: str, dtype: str, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Map an array, new or existing; an existing one must be as described."""
    if mode == 'r':
        array: np.memmap[Any, Any] = np.load(file, mmap_mode='r')
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise ValueError(
                f'{file.name} is {array.shape} {array.dtype}, expected {shape} {dtype}'
            )
        return array
    made: np.memmap[Any, Any] = np.lib.format.open_memmap(file, mode, dtype, shape)
    return made
