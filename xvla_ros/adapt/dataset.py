# SPDX-License-Identifier: Apache-2.0
"""Episodes as samples: images, words, state and anchors, prepared as in serving."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.adapt.trainer.features import Features
from xvla_ros.adapt.windows import Maker
from xvla_ros.core.errors import ConfigError
from xvla_ros.data.episodes import Episode, Images
from xvla_ros.model.backends.network import Network
from xvla_ros.model.normalisation import Normalisation
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.tokenizer import TextProcessor

# Largest relative change of brightness and of each colour channel. X-VLA's train.py jitters
# brightness, contrast and saturation by 0.2.
BRIGHTNESS = 0.2
CHANNEL = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """
    The input processors of a checkpoint, the same as in serving, and its sizes.

    views: slots. anchors: of a chunk. state: numbers that a state is padded to.
    """

    images: ImageProcessor
    text: TextProcessor
    views: int
    anchors: int
    state: int

    @classmethod
    def of(cls, network: Network, images: ImageProcessor, text: TextProcessor) -> 'Preparation':
        """Read the sizes from a network."""
        config = network.config
        sizes = {'views': config.view_slots, 'anchors': config.num_actions}
        return cls(images=images, text=text, state=network.dim_proprio, **sizes)


class Dataset:
    """
    All samples of some episodes of one robot.

    proprio (N, n), actions (N, T, n), episode (N,), frame (N,); n is 20 in EE6D. `normalisation`
    converts these numbers to the network's. `shrink` writes all images at the network's size to a
    file once. Without it, images are read from the episodes each time.
    """

    def __init__(
        self, episodes: Sequence[Episode], maker: Maker, preparation: Preparation
    ) -> None:
        """
        Make the samples.

        :raises ConfigError: nothing moves in any episode, or one does not fit the robot.
        """
        self.episodes, self.preparation = list(episodes), preparation
        self.maker, self.normalisation = maker, Normalisation()
        made = [maker.windows(episode) for episode in self.episodes]
        self.proprio = np.concatenate([w.proprio for w in made])
        self.actions = np.concatenate([w.actions for w in made])
        self.frame = np.concatenate([w.frame for w in made])
        self.episode = np.repeat(np.arange(len(made)), [len(w.frame) for w in made])
        self.still = sum(w.still for w in made)
        self.tasks = [episode.instruction for episode in self.episodes]
        self._words = [preparation.text(task) for task in self.tasks]
        self._shrunk: NDArray[np.uint8] | None = None
        if not len(self.frame):
            raise ConfigError(
                f'none of the {len(made)} episodes has a frame after which something moves'
            )

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.frame)

    def spread(self, most: int) -> NDArray[np.intp]:
        """Return at most so many samples, evenly spread over all frames."""
        return np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.intp)

    @cached_property
    def fingerprint(self) -> str:
        """Return a digest of the samples."""
        digest = hashlib.sha256(self.actions.tobytes() + self.proprio.tobytes())
        digest.update('\n'.join(self.tasks).encode())
        return digest.hexdigest()[:16]

    def images(self, sample: int) -> Images:
        """
        Return the images of a sample, shrunk where that has been done.

        :raises ConfigError: an episode has another number of cameras than the network has slots.
        """
        if self._shrunk is not None:
            images: Images = tuple(self._shrunk[sample])
            return images
        episode = self.episodes[self.episode[sample]]
        images = episode.look(int(self.frame[sample]))
        if not 1 <= len(images) <= self.preparation.views:
            raise episode.error(
                f'has {len(images)} cameras, the checkpoint has {self.preparation.views} slots'
            )
        return images

    def shrink(self, file: Path) -> None:
        """
        Write all images at the network's size into a file, and read them from there.

        A letterboxed image is normalised before it is shrunk, so it stays as it is.
        """
        processor = self.preparation.images
        if processor.letterbox:
            return
        views = len(self.images(0))
        shape = (len(self), views, *processor.size, 3)
        made = np.lib.format.open_memmap(file, 'w+', np.uint8, shape)
        for sample in tqdm(range(len(self)), 'read images', unit='frame', disable=None):
            for view, image in enumerate(self.images(sample)):
                made[sample, view] = processor.resize(image)[0].permute(1, 2, 0).numpy()
        made.flush()
        self._shrunk = made

    def batch(
        self, samples: NDArray[np.intp], domain: int, random: np.random.Generator | None = None
    ) -> Batch:
        """
        Return a batch of samples for a row of the network.

        :param random: jitters colours; None leaves them as serving has them.
        """
        views = [self.images(sample) for sample in samples]
        flat = [image for images in views for image in images]
        if random is not None:
            flat = [jittered(image, random) for image in flat]
        pixels = self.preparation.images(flat)
        return self._batch(samples, domain, pixels, [len(images) for images in views])

    def known(self, samples: NDArray[np.intp], domain: int, features: Features) -> Batch:
        """Return a batch with the encoder's outputs in place of images."""
        encoded, auxiliary = features.of(samples)
        none = torch.empty(0, 3, *self.preparation.images.size)
        batch = self._batch(samples, domain, none, [0] * len(samples))
        return replace(batch, encoded=encoded, auxiliary=auxiliary)

    def _batch(
        self, samples: NDArray[np.intp], domain: int, pixels: torch.Tensor, views: list[int]
    ) -> Batch:
        mask = np.zeros((len(samples), self.preparation.views), bool)
        for row, count in zip(mask, views, strict=True):
            row[:count] = True
        state = self.normalisation.of_state(self.proprio[samples])
        return Batch(
            tokens=torch.tensor([self._words[self.episode[s]] for s in samples]),
            pixels=pixels,
            mask=torch.from_numpy(mask),
            proprio=torch.from_numpy(padded(state, self.preparation.state)),
            actions=torch.from_numpy(self.normalisation.of_actions(self.actions[samples])),
            domain=torch.full((len(samples),), domain),
        )


def padded(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return numbers (..., n) with zeros behind them, so that they are (..., width)."""
    rest = width - values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, rest)]) if rest > 0 else values


def jittered(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) with another brightness and slightly other colours."""
    gain = (1 + BRIGHTNESS * random.uniform(-1, 1)) * (1 + CHANNEL * random.uniform(-1, 1, 3))
    table = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)  # (256, 3)
    return np.stack([table[image[..., c], c] for c in range(3)], axis=-1)
