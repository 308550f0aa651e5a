# SPDX-License-Identifier: Apache-2.0
"""What answers an observation: a checkpoint here or a server elsewhere, by one protocol."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import EE6D_SIZE
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import PolicySettings
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.nodes.worker_link import CheckpointFacts


class Predictor(Protocol):
    """Turns one observation into one chunk of raw actions."""

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        proprio: NDArray[np.float64],
        instruction: str,
        domain_id: int,
        steps: int = 10,
        noise: NDArray[np.float32] | None = None,
        prefix: NDArray[np.float32] | None = None,
        tolerance: tuple[float, float] | None = None,
        warm_start: WarmStart | None = None,
    ) -> NDArray[np.float32]:
        """Return (num_actions, dim) float32; see xvla_ros.model.Policy.predict."""


def make_predictor(settings: PolicySettings) -> tuple[Predictor, CheckpointFacts]:
    """
    Load what the settings name.

    :raises ConfigError: neither or both of checkpoint and server_url are set, or the checkpoint is
        nowhere.
    :raises CheckpointError: the checkpoint or the server's model cannot be used.
    """
    if bool(settings.checkpoint) == bool(settings.server_url):
        raise ConfigError('set exactly one of policy.checkpoint and policy.server_url')
    return _remote(settings) if settings.server_url else _local(settings)


def warm_up(predictor: Predictor, embodiment: Embodiment, facts: CheckpointFacts) -> None:
    """Predict once from blank images, so that the first real answer is as quick as the others."""
    settings, views = embodiment.policy, len(embodiment.camera_names)
    words, steps = settings.instruction or 'warm up', settings.denoising_steps
    start_time = settings.warm_start_time
    if settings.checkpoint:
        predictor.warm_up(views, words, settings.domain_id, steps, start_time)
        return
    start = WarmStart(plan=None, time=start_time) if start_time else None
    state = np.zeros(facts.dim_proprio or facts.dim_action or EE6D_SIZE)
    images = [np.zeros((224, 224, 3), np.uint8)] * views
    predictor.predict(images, state, words, settings.domain_id, steps=steps, warm_start=start)


def _local(settings: PolicySettings) -> tuple[Predictor, CheckpointFacts]:
    path = shared_file('resource', settings.checkpoint)  # before torch: a wrong name fails fast
    import torch

    from xvla_ros.model import load_policy

    torch.set_num_threads(settings.threads)
    policy = load_policy(path, device=settings.device, dtype=settings.dtype)
    config = policy.config
    facts = CheckpointFacts(
        action_mode=config.action_mode,
        num_actions=config.num_actions,
        dim_action=policy.mode.real_dim,
        dim_proprio=policy.network.dim_proprio,
        dim_noise=policy.mode.dim,
        view_slots=config.view_slots,
        num_domains=config.num_domains,
        trained_domains=policy.trained_domains,
    )
    return policy, facts


def _remote(settings: PolicySettings) -> tuple[Predictor, CheckpointFacts]:
    from xvla_ros.serve.client import RemotePredictor

    predictor = RemotePredictor(
        settings.server_url,
        token=settings.server_token or None,
        timeout_s=settings.request_timeout_s,
    )
    predictor.connect()
    told = predictor.metadata or {}
    cameras, domains = told.get('cameras'), told.get('domains')
    trained = told.get('trained_domains')
    facts = CheckpointFacts(
        action_mode=told.get('action_mode'),
        num_actions=told.get('num_actions'),
        dim_action=told.get('dim_action'),
        dim_proprio=told.get('dim_proprio'),
        dim_noise=told.get('dim_noise', told.get('dim_action')),
        view_slots=len(cameras) if isinstance(cameras, list) else None,
        num_domains=len(domains) if isinstance(domains, list) else None,
        trained_domains=tuple(trained) if isinstance(trained, list) else None,
    )
    return predictor, facts
