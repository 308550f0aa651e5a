# SPDX-License-Identifier: Apache-2.0
"""Decides which requests run as one batch, and passes them to the policy."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from xvla_ros.model.policy import Policy
from xvla_ros.serve.requests import InferenceRequest


def batch_key(request: InferenceRequest) -> Hashable:
    """
    Return the key that requests of one batch must share; None for a request that runs alone.

    The number of steps must be equal, because all rows are at the same flow time. A prefix has its
    own length, a tolerance its own last step, and a warm start its own times, so they run alone.
    """
    own = (request.prefix, request.tolerance, request.warm_start)
    return request.steps if all(option is None for option in own) else None


def answers(policy: Policy, requests: Sequence[InferenceRequest]) -> list[NDArray[np.float32]]:
    """
    Answer requests of one `batch_key` together, or one alone.

    :return: (num_actions, dim_action) float32 per request.
    """
    first = requests[0]
    if batch_key(first) is not None:
        return policy.predict_batch(requests, first.steps)
    chunk = policy.predict(
        first.images,
        first.proprio,
        first.instruction,
        first.domain_id,
        steps=first.steps,
        noise=first.noise,
        prefix=first.prefix,
        tolerance=first.tolerance,
        warm_start=first.warm_start,
    )
    return [chunk]
