# SPDX-License-Identifier: Apache-2.0
"""A checkpoint, ready to turn one observation into one chunk of actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from xvla_ros.core.errors import CheckpointError, InferenceError, ObservationError
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.denoiser import Denoiser
from xvla_ros.model.inputs import checked_array, checked_integer, checked_times, checked_tolerance
from xvla_ros.model.inspection import trained_domains
from xvla_ros.model.lora import Adapter
from xvla_ros.model.packing import pack
from xvla_ros.model.processor import (
    image_processor,
    ImageProcessor,
    load_tokenizer,
    TextProcessor,
)
from xvla_ros.model.reading import read_config, read_json
from xvla_ros.model.sampler import sample, Tolerance
from xvla_ros.model.warm_start import WarmStart
from xvla_ros.model.xvla import check_sequence, XVLA

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


class Policy:
    """
    X-VLA behind one call. Not thread-safe: one caller at a time.

    `config` is the checkpoint's geometry; `last_steps` how many predictions the last call took;
    `trained_domains` the rows that training may have seen, None where the weights cannot tell.
    """

    def __init__(
        self,
        network: XVLA,
        images: ImageProcessor,
        text: TextProcessor,
        device: str = 'cpu',
        trained: tuple[int, ...] | None = None,
    ) -> None:
        self.network = network.to(device).eval()
        self.images, self.text = images, text
        self.config: NetworkConfig = network.config
        self.mode = network.mode
        self.device = torch.device(device)
        self.trained_domains = trained
        self.last_steps = 0
        self.generator = np.random.default_rng()
        self._text_features = lru_cache(maxsize=64)(self._embed)

    def predict(
        self,
        images: Sequence[np.ndarray],
        proprio: np.ndarray,
        instruction: str,
        domain_id: int,
        steps: int | Sequence[float] = 10,
        noise: np.ndarray | None = None,
        prefix: np.ndarray | None = None,
        tolerance: Tolerance | tuple[float, float] | None = None,
        warm_start: WarmStart | None = None,
    ) -> np.ndarray:
        """
        Predict one chunk.

        :param images: one to `config.view_slots` images (H, W, 3) uint8 RGB, main view first.
        :param proprio: (dim_proprio,) in the units and frame the checkpoint was trained with.
        :param domain_id: row of the soft prompts and of the per-domain projections.
        :param steps: denoising steps, 10 is the reference; or the flow times themselves.
        :param noise: (num_actions, dim) standard normal; drawn when absent.
        :param prefix: (d, dim) steps already committed to: they come back unchanged and the rest
            continues them (real-time chunking).
        :param tolerance: (millimetres, degrees): go to the last step once two predictions agree.
        :return: (num_actions, dim) float32, grippers as probabilities where the mode has logits.
        :raises ObservationError: an input is malformed; it is named.
        :raises InferenceError: the network answered something that is not finite.
        """
        domain = checked_integer(domain_id, 'domain_id', 0, self.config.num_domains - 1)
        state = self._tensor(proprio, (self.network.dim_proprio,), 'proprio')
        start = self._noise(noise)
        committed = None if prefix is None else self._committed(prefix)
        begin, plan = (1.0, None) if warm_start is None else self._warm(warm_start)
        times = checked_times(steps, begin)
        tolerance = checked_tolerance(tolerance)
        with torch.inference_mode():
            denoiser = self._prepare(images, state, instruction, domain, times)
            raw, self.last_steps = sample(
                denoiser, start, times, self.mode, prefix=committed, plan=plan, tolerance=tolerance
            )
            actions = self.mode.postprocess(raw)[0].cpu().numpy()
        if not np.isfinite(actions).all():
            raise InferenceError('the network predicted actions that are not finite')
        if prefix is not None:
            actions[: len(prefix)] = prefix
        return actions

    def _prepare(
        self,
        images: Sequence[np.ndarray],
        state: torch.Tensor,
        instruction: str,
        domain: int,
        times: tuple[float, ...],
    ) -> '_Step':
        """Encode an observation and hoist what its denoising steps share."""
        encoded, auxiliary = self.network.fuse(
            self.view_features(images), self.text_features(instruction)
        )
        proprio, _ = self.mode.preprocess(state, state.new_zeros(1, 1, self.mode.dim))
        denoiser = Denoiser(
            self.network.transformer,
            times,
            encoded,
            auxiliary,
            proprio,
            torch.tensor([domain], device=self.device),
            self.config.num_actions,
        )
        return _Step(denoiser, self.mode, state)

    def view_features(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Encode the given views as one batch; empty slots are exact zeros: (1, V, tokens, C)."""
        slots = self.config.view_slots
        if isinstance(images, (str, bytes, np.ndarray)) or not 1 <= len(images) <= slots:
            got = type(images).__name__ if not isinstance(images, (list, tuple)) else len(images)
            raise ObservationError(f'images: got {got}, expected a list of 1 to {slots} images')
        pixels = self.images(images).to(self.device)
        features = self.network.image_features(pixels)
        missing = slots - len(features)
        if missing:
            features = torch.cat([features, features.new_zeros(missing, *features.shape[1:])])
        return features[None]

    def text_features(self, instruction: str) -> torch.Tensor:
        """Return an instruction's token embeddings (1, L, C), kept for the next call."""
        return self._text_features(self.text(instruction))

    def _embed(self, ids: tuple[int, ...]) -> torch.Tensor:
        return self.network.text_features(torch.tensor([ids], device=self.device))

    def _tensor(self, values: np.ndarray, shape: tuple[int, ...], name: str) -> torch.Tensor:
        """Check an input and bring it to the device, with a batch axis in front."""
        checked = checked_array(values, shape, name)
        return torch.from_numpy(checked)[None].to(self.device)

    def _noise(self, noise: np.ndarray | None) -> torch.Tensor:
        shape = (self.config.num_actions, self.mode.dim)
        if noise is None:
            noise = self.generator.standard_normal(shape, dtype=np.float32)
        return self._tensor(noise, shape, 'noise')

    def _committed(self, actions: np.ndarray, name: str = 'prefix') -> torch.Tensor:
        """Check actions as they leave the model, and bring them back to the network's width."""
        length = self.config.num_actions
        rows = len(actions) if isinstance(actions, np.ndarray) else -1
        if not 0 <= rows <= length:
            raise ObservationError(f'{name}: expected an array of at most {length} rows')
        tensor = self._tensor(actions, (rows, self.mode.real_dim), name)
        return self.mode.raw(tensor)

    def _warm(self, start: WarmStart) -> tuple[float, torch.Tensor]:
        """Check a warm start; return its time and its plan in the network's form."""
        if not 0.0 < start.time <= 1.0:
            raise ObservationError(f'warm_start.time is {start.time}, expected above 0, up to 1')
        plan = self._committed(start.plan, 'warm_start.plan')
        if plan.shape[1] != self.config.num_actions:
            raise ObservationError(
                f'warm_start.plan has {plan.shape[1]} rows, expected {self.config.num_actions}'
            )
        return float(start.time), plan


@dataclass(frozen=True, slots=True)
class _Step:
    """Preprocess noisy actions and predict clean ones."""

    denoiser: Denoiser
    mode: object
    state: torch.Tensor

    def __call__(self, noisy: torch.Tensor, index: int) -> torch.Tensor:
        _, actions = self.mode.preprocess(self.state, noisy)
        return self.denoiser(actions, index)


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
    :raises CheckpointError: the directory is incomplete or does not fit its own config.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f'dtype {dtype!r} is unknown; known: {", ".join(DTYPES)}')
    path = Path(path)
    config = read_config(path)
    images = read_image_processor(path, config)
    vocabulary = config.florence['text_config']['vocab_size']
    text = load_tokenizer(path / 'tokenizer.json', config.text_length, vocabulary)
    lora = None if adapter is None else Adapter(Path(adapter))
    network = load_network(path, config, torch.float32, lora)
    trained = trained_domains(network, lora)
    pack(network, DTYPES[dtype], device)
    policy = Policy(network, images, text, device, trained)
    check_geometry(policy)
    return policy


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
