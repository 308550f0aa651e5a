# SPDX-License-Identifier: Apache-2.0
"""The requests to a policy server, its limits and its errors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import XvlaError
from xvla_ros.core.warm_start import WarmStart

MIB = 2**20


class RequestError(XvlaError):
    """
    A refused request; the client gets the message.

    :param status: HTTP status: 400 unreadable, 401 not allowed, 413 too large, 422 a wrong field.
    """

    def __init__(self, reason: str, status: int = 422) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """
    Inputs and outputs of a served policy, sent to clients in /health and the WebSocket welcome.

    :param cameras: view slots, `image0` the main view. :param domains: rows of the soft prompts.
    :param dim_noise: width of the network's own action, and of `noise`.
    :param trained_domains: rows that training may have seen, None if the weights do not show it.
    :param first_anchor_index: periods from an observation to its first action, None: unknown.
    """

    checkpoint: str
    action_mode: str
    cameras: int
    domains: int
    dim_proprio: int
    num_actions: int
    dim_action: int
    dim_noise: int
    trained_domains: tuple[int, ...] | None = None
    first_anchor_index: int | None = None

    @property
    def action_shape(self) -> tuple[int, int]:
        """Shape of an answered chunk."""
        return self.num_actions, self.dim_action

    @property
    def camera_keys(self) -> tuple[str, ...]:
        """Names of the camera fields, main view first."""
        return tuple(f'image{i}' for i in range(self.cameras))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """
    Limits of a request, checked before memory is allocated.

    :param body_bytes: size of a body; three raw 1080p views in doubly encoded base64 are 25 MiB.
    :param pixels: pixels of one image; 3840 x 2160.
    :param values: JSON or msgpack containers in one request; a 224 x 224 image as lists has
        50,177.
    :param numbers: commas in a JSON body, which count the numbers outside base64, or elements of
        msgpack containers; two 480 x 640 images as lists.
    :param fields: fields of one msgpack map.
    :param steps: denoising steps; the reference uses 10.
    :param proprio: largest magnitude, in metres, radians or raw gripper units.
    """

    body_bytes: int = 32 * MIB
    pixels: int = 3840 * 2160
    values: int = 200_000
    numbers: int = 2_000_000
    fields: int = 64
    steps: int = 100
    instruction_characters: int = 1000
    proprio: float = 1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceRequest:
    """
    One valid request to the policy.

    :param images: (H, W, 3) uint8 RGB each, main view first, none left out.
    :param proprio: (dim_proprio,) float32.
    :param noise: (num_actions, dim_noise) float32, or None for fresh noise.
    :param prefix: (d, dim_action) float32 committed steps, or None.
    :param tolerance: (millimetres, degrees) at which denoising stops early, or None.
    :param warm_start: start of denoising, or None for noise alone.
    :param slack_s: remaining time of the robot's plan [s], or None if unknown.
    :param least_steps: fewest denoising steps for an answer that would come after the plan's end,
        or None: always `steps`.
    """

    images: tuple[NDArray[np.uint8], ...]
    proprio: NDArray[Any]
    instruction: str
    domain_id: int
    steps: int = 10
    noise: NDArray[Any] | None = None
    prefix: NDArray[Any] | None = None
    tolerance: tuple[float, float] | None = None
    warm_start: WarmStart | None = None
    slack_s: float | None = None
    least_steps: int | None = None
