# SPDX-License-Identifier: Apache-2.0
"""What predicts a chunk: a local checkpoint or a server, behind one protocol."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, Protocol, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.joint_data import arms_data
from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.ee6d import EE6D_SIZE
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import CheckpointError, ConfigError
from xvla_ros.core.joint_detective import DataRange
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.core.policy_settings import FROM_CHECKPOINT, PolicySettings
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.runtime.worker_messages import CheckpointFacts

if TYPE_CHECKING:  # torch takes long to import, and a server's client needs none
    from xvla_ros.model.policy import Policy


class Predictor(Protocol):
    """Turns one observation into one chunk of raw actions."""

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        proprio: NDArray[np.floating],
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
    Load the checkpoint or connect to the server that the settings name.

    :raises ConfigError: neither or both of checkpoint and server_url are set, or the checkpoint is
        not found.
    :raises CheckpointError: the checkpoint or the server's model cannot be used.
    """
    if bool(settings.checkpoint) == bool(settings.server_url):
        raise ConfigError('set exactly one of policy.checkpoint and policy.server_url')
    if settings.adapter and settings.server_url:
        raise ConfigError(
            f"policy.adapter is '{settings.adapter}', but policy.server_url is set: give the "
            'adapter to the server (xvla serve --adapter)'
        )
    return _remote(settings) if settings.server_url else _local(settings)


def warm_up(predictor: Predictor, embodiment: Embodiment, facts: CheckpointFacts) -> None:
    """Predict once from blank images, so that the first real prediction is not slower."""
    settings, views = embodiment.policy, len(embodiment.camera_names)
    words, steps = settings.instruction or 'warm up', settings.denoising_steps
    start_time = settings.warm_start_time
    if settings.checkpoint:
        local = cast('Policy', predictor)
        local.warm_up(views, words, settings.domain_id, steps, start_time)
        return
    start = WarmStart(plan=None, time=start_time) if start_time else None
    state = np.zeros(facts.dim_proprio or facts.dim_action or EE6D_SIZE)
    images = [np.zeros((224, 224, 3), np.uint8)] * views
    predictor.predict(images, state, words, settings.domain_id, steps=steps, warm_start=start)


def _local(settings: PolicySettings) -> tuple[Predictor, CheckpointFacts]:
    # Before torch: a wrong name fails fast.
    path = checkpoint_folder(settings.checkpoint, working_folder=False)
    adapter = None
    if settings.adapter:
        adapter = checkpoint_folder(settings.adapter, working_folder=False)
    import torch

    from xvla_ros.model import load_policy

    torch.set_num_threads(settings.threads)
    policy = load_policy(path, settings.device, settings.dtype, adapter, settings.backend)
    return policy, replace(facts_of(policy), **data_ranges(path))


def data_ranges(folder: Path) -> dict[str, Any]:
    """Return the ranges of a checkpoint's training data, as far as they are stored with it."""
    from xvla_ros.model.normalisation import ACTION, STATE
    from xvla_ros.model.sources import find_sources
    from xvla_ros.model.training_data import stored_statistics

    stored, found = stored_statistics(find_sources(folder).settings), {}
    for name, feature in (('action_range', ACTION), ('state_range', STATE)):
        values = stored[feature].values if feature in stored else {}
        # Commands jump now and then, which measured joints cannot.
        robust = feature == ACTION and {'q01', 'q99'} <= values.keys()
        ends = ('q01', 'q99') if robust else ('min', 'max')
        if values.keys() >= set(ends):
            low, high = (tuple(values[end].tolist()) for end in ends)
            found[name] = DataRange(low=low, high=high)
    return found


def facts_of(policy: 'Policy') -> CheckpointFacts:
    """Return the facts of a loaded checkpoint."""
    config = policy.config
    return CheckpointFacts(
        action_mode=config.action_mode,
        num_actions=config.num_actions,
        dim_action=policy.mode.real_dim,
        dim_proprio=policy.network.dim_proprio,
        dim_noise=policy.mode.dim,
        view_slots=config.view_slots,
        num_domains=config.num_domains,
        trained_domains=policy.trained_domains,
        first_anchor_index=config.first_anchor_index,
    )


def _remote(settings: PolicySettings) -> tuple[Predictor, CheckpointFacts]:
    from xvla_ros.serve.client import RemotePredictor
    from xvla_ros.serve.token import server_token

    predictor = RemotePredictor(
        settings.server_url,
        token=server_token(settings.server_token_file),
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
        first_anchor_index=told.get('first_anchor_index'),
    )
    return predictor, facts


def as_told(embodiment: Embodiment, first_anchor_index: int | None) -> Embodiment:
    """Return an embodiment that says what it left to the checkpoint, where that says it."""
    policy = embodiment.policy
    if policy.first_anchor_index != FROM_CHECKPOINT or first_anchor_index not in (0, 1):
        return embodiment
    return replace(embodiment, policy=replace(policy, first_anchor_index=first_anchor_index))


def check_fit(embodiment: Embodiment, facts: CheckpointFacts) -> None:
    """
    Check that checkpoint and embodiment agree; a fact that is None is not checked.

    :raises CheckpointError: naming everything that does not fit.
    """
    misfits = list(_misfits(embodiment, facts))
    if misfits:
        source = embodiment.policy.checkpoint or embodiment.policy.server_url
        raise CheckpointError(
            f"checkpoint '{source}' does not fit embodiment '{embodiment.robot}': "
            f'{"; ".join(misfits)}'
        )


def _misfits(embodiment: Embodiment, facts: CheckpointFacts) -> Iterator[str]:
    policy, cameras = embodiment.policy, embodiment.camera_names
    yield from _action_misfits(embodiment, facts)
    if facts.view_slots is not None and len(cameras) > facts.view_slots:
        names = ', '.join(cameras)
        yield f'it has {facts.view_slots} view slots for {len(cameras)} cameras ({names})'
    if facts.num_domains is not None and policy.domain_id >= facts.num_domains:
        last = facts.num_domains - 1
        yield f'policy.domain_id is {policy.domain_id}, its domains are 0 to {last}'
    elif facts.trained_domains is not None and policy.domain_id not in facts.trained_domains:
        trained = list(facts.trained_domains)
        yield f'policy.domain_id {policy.domain_id} was never trained; trained are {trained}'
    if facts.num_actions is not None and policy.anchor_stride > facts.num_actions:
        stride = policy.anchor_stride
        yield f'policy.anchor_stride is {stride}, its chunks have {facts.num_actions} anchors'


def _action_misfits(embodiment: Embodiment, facts: CheckpointFacts) -> Iterator[str]:
    """Yield what is wrong with the meaning of the numbers."""
    mode = embodiment.policy.action_mode
    if facts.action_mode is not None and facts.action_mode != mode:
        yield f"its action mode is '{facts.action_mode}', not '{mode}'"
    width, what = EE6D_SIZE, 'EE6D has'
    if embodiment.joint_space:
        width, what = JointProfile(embodiment).width, 'the joints tables have'
    if facts.dim_action is not None and facts.dim_action != width:
        yield f'it answers {facts.dim_action} numbers per action, {what} {width}'
        return
    for data in arms_data(embodiment, facts.action_range, facts.state_range):
        yield from data.misfits()
