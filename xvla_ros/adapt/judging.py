# SPDX-License-Identifier: Apache-2.0
"""An open loop: a policy that is ready to serve against demonstrations it may not have seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xvla_ros.adapt.dataset import Dataset, Preparation
from xvla_ros.adapt.validation import measure
from xvla_ros.adapt.windows import WindowMaker
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.data.episodes import Episode
from xvla_ros.model.policy import Policy
from xvla_ros.runtime.predictor import as_told


def judge(
    policy: Policy,
    episodes: Sequence[Episode],
    embodiment: Embodiment,
    row: int,
    samples: int,
    steps: int,
) -> dict[str, Any]:
    """
    Return errors over all, by anchor and by task, see `Errors.summary`.

    :param samples: predictions, evenly spread over all frames. steps: of denoising.
    :raises ConfigError: the data does not fit the robot or the checkpoint.
    """
    preparation = Preparation.of(policy.network, policy.images, policy.text)
    embodiment = as_told(embodiment, policy.config.first_anchor_index)
    data = Dataset(episodes, WindowMaker(embodiment, preparation.anchors), preparation)
    return measure(policy, data, data.spread(samples), row, steps).summary()


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """
    Return Wilson's interval of a success rate (Wilson 1927), 95 % with the default z.

    It stays inside 0 to 1 and is not empty where all trials end alike, unlike the usual one.
    """
    share, more = successes / trials, z * z / trials
    centre = (share + more / 2) / (1 + more)
    half = z * np.sqrt(share * (1 - share) / trials + more / (4 * trials)) / (1 + more)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
