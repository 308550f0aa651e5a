# SPDX-License-Identifier: Apache-2.0
"""Several requests as one batch: each its own views, words, domain and noise."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from xvla_ros.core.errors import InferenceError
from xvla_ros.model.denoiser import Denoiser
from xvla_ros.model.policy import Policy
from xvla_ros.model.sampler import flow_times, sample
from xvla_ros.serve.requests import InferenceRequest


def batch_key(request: InferenceRequest) -> Hashable:
    """
    Return what requests must share to run as one batch; None for one that runs alone.

    Steps are shared because all rows are at the same flow time. A prefix has its own length, and
    a tolerance stops when its own chunk has settled: both run alone.
    """
    return request.steps if request.prefix is None and request.tolerance is None else None


def predict_one(policy: Policy, request: InferenceRequest) -> np.ndarray:
    """Answer one request: (num_actions, dim_action) float32."""
    return policy.predict(
        list(request.images),
        request.proprio,
        request.instruction,
        request.domain_id,
        steps=request.steps,
        noise=request.noise,
        prefix=request.prefix,
        tolerance=request.tolerance,
    )


def predict_batch(policy: Policy, requests: Sequence[InferenceRequest]) -> list[np.ndarray]:
    """
    Answer requests of one `batch_key` together.

    Equal to `predict_one` up to the rounding of larger matrix products.

    :return: (num_actions, dim_action) float32 per request.
    :raises InferenceError: an answer is not finite.
    """
    if len(requests) == 1:
        return [predict_one(policy, requests[0])]
    network, mode = policy.network, policy.mode
    times = flow_times(requests[0].steps)
    with torch.inference_mode():
        words = torch.cat([policy.text_features(request.instruction) for request in requests])
        encoded, auxiliary = network.fuse(views(policy, requests), words)
        state = stacked(policy, [request.proprio for request in requests])
        noise = stacked(policy, [noise_of(policy, request) for request in requests])
        proprio, _ = mode.preprocess(state, noise)
        domain = torch.tensor([request.domain_id for request in requests], device=policy.device)
        denoiser = Denoiser(
            network.transformer, times, encoded, auxiliary, proprio, domain, noise.shape[1]
        )
        raw, _ = sample(
            lambda noisy, step: denoiser(mode.preprocess(state, noisy)[1], step),
            noise,
            times,
            mode,
        )
        actions = mode.postprocess(raw).float().cpu().numpy()
    if not np.isfinite(actions).all():
        raise InferenceError('the network predicted actions that are not finite')
    return list(actions)


def views(policy: Policy, requests: Sequence[InferenceRequest]) -> torch.Tensor:
    """Encode all images at once: (B, view slots, tokens, C), zeros where a view is missing."""
    images = [image for request in requests for image in request.images]
    pixels = policy.images(images).to(policy.device)
    features = policy.network.image_features(pixels)
    slots = features.new_zeros(len(requests), policy.config.view_slots, *features.shape[1:])
    filled = [
        (row, slot) for row, request in enumerate(requests) for slot in range(len(request.images))
    ]
    rows, columns = zip(*filled, strict=True)
    slots[list(rows), list(columns)] = features
    return slots


def noise_of(policy: Policy, request: InferenceRequest) -> np.ndarray:
    """Return the request's noise, or draw it: (num_actions, dim) float32."""
    if request.noise is not None:
        return request.noise
    shape = (policy.config.num_actions, policy.mode.dim)
    return policy.generator.standard_normal(shape, dtype=np.float32)


def stacked(policy: Policy, arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """Stack one array per request on the policy's device, float32."""
    return torch.from_numpy(np.stack(arrays)).to(policy.device)
