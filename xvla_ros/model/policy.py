# SPDX-License-Identifier: Apache-2.0
"""A loaded checkpoint, which predicts chunks of actions from observations."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.core.errors import InferenceError, ObservationError
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.model.backends.network import Network
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.cuda_graph import CapturedAnswer
from xvla_ros.model.forward import answer, Batch, Geometry, in_slots
from xvla_ros.model.inputs import (
    checked_array,
    checked_integer,
    checked_times,
    checked_tolerance,
    Question,
)
from xvla_ros.model.normalisation import Normalisation
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.sampler import Tolerance
from xvla_ros.model.tokenizer import TextProcessor


class Row(NamedTuple):
    """
    One checked observation.

    images: unchanged; state: (dim_proprio,) float32; words: (1, L, C) on the device; domain: a
    row of the checkpoint; noise: (num_actions, dim) float32; plan: (1, num_actions, dim) raw.
    """

    images: Sequence[NDArray[np.uint8]]
    state: NDArray[np.float32]
    words: torch.Tensor
    domain: int
    noise: NDArray[Any]
    plan: torch.Tensor


class Policy:
    """
    A loaded X-VLA. Not thread-safe: one caller at a time.

    `config` is the checkpoint's geometry; `last_steps` the number of predictions in the last call;
    `trained_domains` the rows that training may have seen, None if the weights do not show it.
    """

    def __init__(
        self,
        network: Network,
        images: ImageProcessor,
        text: TextProcessor,
        device: str = 'cpu',
        trained: tuple[int, ...] | None = None,
        normalisation: Normalisation | None = None,
    ) -> None:
        if isinstance(network, torch.nn.Module):
            network.to(device).eval()
        self.network, self.images, self.text = network, images, text
        self.config: NetworkConfig = network.config
        self.mode = network.mode
        self.device = torch.device(device)
        self.trained_domains, self.normalisation = trained, normalisation or Normalisation()
        self.last_steps = 0
        self.generator = np.random.default_rng()
        self.captured: dict[Geometry, CapturedAnswer] = {}
        self._text_features = lru_cache(maxsize=64)(self._embed)

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        proprio: NDArray[Any],
        instruction: str,
        domain_id: int,
        steps: int | Sequence[float] = 10,
        noise: NDArray[Any] | None = None,
        prefix: NDArray[Any] | None = None,
        tolerance: Tolerance | tuple[float, float] | None = None,
        warm_start: WarmStart | None = None,
    ) -> NDArray[np.float32]:
        """
        Predict one chunk.

        :param images: one to `config.view_slots` images (H, W, 3) uint8 RGB, main view first.
        :param proprio: (dim_proprio,) in the units and frame of the training data.
        :param domain_id: row of the soft prompts and of the per-domain projections.
        :param steps: denoising steps, 10 is the reference; or the flow times themselves.
        :param noise: (num_actions, dim) standard normal; drawn when absent.
        :param prefix: (d, dim) committed steps: they are returned unchanged, and the rest
            continues them (real-time chunking).
        :param tolerance: (millimetres, degrees): skip to the last step once two predictions agree.
        :param warm_start: a first guess of the chunk, and the flow time to begin at.
        :return: (num_actions, dim) float32 in those units; probabilities in place of logits.
        :raises ObservationError: an input is malformed; the message names it.
        :raises InferenceError: the network's answer is not finite.
        """
        row = self._row(images, proprio, instruction, domain_id, noise, warm_start)
        times = checked_times(steps, warm_start)
        options: dict[str, Any] = {}
        if prefix is not None:
            options['prefix'] = self._committed(prefix).to(self.device)
        if tolerance is not None:
            self.normalisation.check_tolerance()
            options['tolerance'] = checked_tolerance(tolerance)
        (actions,) = self._answer([row], times, **options)
        if prefix is not None:
            actions[: len(prefix)] = prefix
        return actions

    def predict_batch(
        self, questions: Sequence[Question], steps: int | Sequence[float] = 10
    ) -> list[NDArray[np.float32]]:
        """
        Predict one chunk for each question, with its own views, words, domain and noise.

        The result for one question equals that of `predict` to the bit; for several it differs by
        the rounding of larger matrix products. The other parameters are as in `predict`.
        """
        times = checked_times(steps)
        rows = [
            self._row(q.images, q.proprio, q.instruction, q.domain_id, q.noise) for q in questions
        ]
        return list(self._answer(rows, times))

    def warm_up(
        self,
        views: int,
        instruction: str = 'warm up',
        domain_id: int = 0,
        steps: int | Sequence[float] = 10,
        warm_start_time: float | None = None,
    ) -> None:
        """
        Answer a blank observation, so that the first real answer is not slower than later ones.

        On a GPU the run is recorded. Later calls with the same number of views and the same steps,
        without prefix and tolerance, replay it.

        :param warm_start_time: flow time at which warm starts begin, with or without a plan.
        """
        blank = [np.zeros((*self.images.size, 3), np.uint8)] * views
        state = np.zeros(self.network.dim_proprio, np.float32)
        starts: tuple[WarmStart | None, ...] = (None,)
        if warm_start_time:
            rest = np.zeros((self.config.num_actions, self.mode.real_dim), np.float32)
            starts = tuple(WarmStart(plan=plan, time=warm_start_time) for plan in (None, rest))
        for start in starts:
            if self.device.type == 'cuda':
                row = self._row(blank, state, instruction, domain_id, warm_start=start)
                self._capture(row, checked_times(steps, start))
            self.predict(blank, state, instruction, domain_id, steps=steps, warm_start=start)

    def _capture(self, row: Row, times: tuple[float, ...]) -> None:
        """Record the run of a row, which later rows of the same geometry replay."""
        geometry = Geometry(views=(len(row.images),), times=times)
        with torch.inference_mode():
            batch = self._batch([row], times)
            self.captured[geometry] = CapturedAnswer(self.network, batch, geometry)

    def view_features(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Encode views as one batch (1, V, tokens, C); empty slots are exactly zero."""
        features = self.network.image_features(self.images(images).to(self.device))
        return in_slots(features, (len(features),), self.config.view_slots)

    def text_features(self, instruction: str) -> torch.Tensor:
        """Return an instruction's token embeddings (1, L, C), with a cache."""
        return self._text_features(self.text(instruction))

    def _embed(self, ids: tuple[int, ...]) -> torch.Tensor:
        return self.network.text_features(torch.tensor([ids], device=self.device))

    def _row(
        self,
        images: Sequence[NDArray[np.uint8]],
        proprio: NDArray[Any],
        instruction: str,
        domain_id: int,
        noise: NDArray[Any] | None = None,
        warm_start: WarmStart | None = None,
    ) -> Row:
        """Check one observation; draw the noise if it has none."""
        slots, shape = self.config.view_slots, (self.config.num_actions, self.mode.dim)
        if isinstance(images, (str, bytes, np.ndarray)) or not 1 <= len(images) <= slots:
            got = type(images).__name__ if not isinstance(images, (list, tuple)) else len(images)
            raise ObservationError(f'images: got {got}, expected a list of 1 to {slots} images')
        if noise is None:
            noise = self.generator.standard_normal(shape, dtype=np.float32)
        with torch.inference_mode():
            words = self.text_features(instruction)
        state = checked_array(proprio, (self.network.dim_proprio,), 'proprio')
        return Row(
            images,
            self.normalisation.of_state(state),
            words,
            checked_integer(domain_id, 'domain_id', 0, self.config.num_domains - 1),
            checked_array(noise, shape, 'noise'),
            self._plan(warm_start),
        )

    def _batch(self, rows: Sequence[Row], times: tuple[float, ...]) -> Batch:
        """Copy checked observations to the device."""
        images = [image for row in rows for image in row.images]
        return Batch(
            pixels=self.images(images).to(self.device),
            words=torch.cat([row.words for row in rows]),
            state=self._stacked([row.state for row in rows]),
            domain=torch.tensor([row.domain for row in rows], device=self.device),
            noise=self._stacked([row.noise for row in rows]),
            plan=torch.cat([row.plan for row in rows]).to(self.device),
            times=torch.tensor(times, device=self.device),
        )

    def _answer(
        self, rows: Sequence[Row], times: tuple[float, ...], **options: Any
    ) -> NDArray[np.float32]:
        """Predict (B, num_actions, real_dim); see `answer` for the options."""
        geometry = Geometry(views=tuple(len(row.images) for row in rows), times=times)
        captured = None if options else self.captured.get(geometry)
        with torch.inference_mode():
            batch = self._batch(rows, times)
            if captured is None:
                chunks, self.last_steps = answer(self.network, batch, geometry, **options)
            else:
                chunks, self.last_steps = captured(batch), len(times)
            actions = self.normalisation.restored(chunks.cpu().numpy())
        if not np.isfinite(actions).all():
            raise InferenceError('predicted actions are not finite', code='answer_not_finite')
        return actions

    def _stacked(self, arrays: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(self.device)

    def _committed(self, actions: NDArray[Any], name: str = 'prefix') -> torch.Tensor:
        """Check actions in the model's output form; return the network's form (1, d, dim)."""
        length = self.config.num_actions
        rows = len(actions) if isinstance(actions, np.ndarray) else -1
        if not 0 <= rows <= length:
            raise ObservationError(f'{name}: expected an array of at most {length} rows')
        checked = checked_array(actions, (rows, self.mode.real_dim), name)
        return self.mode.raw(torch.from_numpy(self.normalisation.of_actions(checked))[None])

    def _plan(self, start: WarmStart | None) -> torch.Tensor:
        """Check a warm start; return its plan in the network's form, or zeros without one."""
        if start is not None and not 0.0 < start.time <= 1.0:
            raise ObservationError(f'warm_start.time is {start.time}, expected above 0, up to 1')
        if start is None or start.plan is None:
            return torch.zeros(1, self.config.num_actions, self.mode.dim)
        plan = self._committed(start.plan, 'warm_start.plan')
        if plan.shape[1] != self.config.num_actions:
            raise ObservationError(
                f'warm_start.plan has {plan.shape[1]} rows, expected {self.config.num_actions}'
            )
        return plan
