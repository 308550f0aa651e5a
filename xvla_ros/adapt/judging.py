# SPDX-License-Identifier: Apache-2.0
"""Open-loop evaluation: compares predictions of a policy with demonstrations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.dataset import Dataset, padded, Preparation
from xvla_ros.adapt.joints.windows import JointWindowMaker
from xvla_ros.adapt.windows import AnyErrors, Maker, WindowMaker
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.data.episodes import Episode
from xvla_ros.model.policy import Policy
from xvla_ros.runtime.predictor import as_told

# Samples that are predicted at a time.
BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One observation, as `Policy.predict_batch` takes it."""

    images: Sequence[NDArray[np.uint8]]
    proprio: NDArray[np.float32]
    instruction: str
    domain_id: int
    noise: NDArray[np.float32]


def maker_of(embodiment: Embodiment, anchors: int) -> Maker:
    """
    Return what makes samples for a robot.

    :param anchors: of the network, `num_actions`.
    :raises ConfigError: its positions are relative, which cannot be trained.
    """
    if embodiment.joint_space:
        return JointWindowMaker(embodiment, anchors)
    return WindowMaker(embodiment, anchors)


def measure(
    policy: Policy, data: Dataset, samples: NDArray[np.intp], domain: int, steps: int
) -> AnyErrors:
    """
    Predict samples as in serving, each from noise of its own, and compare with what was done.

    :param steps: of denoising.
    """
    predicted: list[NDArray[np.float32]] = []
    for first in range(0, len(samples), BATCH):
        questions = [ask(policy, data, s, domain) for s in samples[first : first + BATCH]]
        predicted += policy.predict_batch(questions, steps)
    tasks = tuple(sorted(set(data.tasks)))
    task = np.array([tasks.index(data.tasks[data.episode[s]]) for s in samples], np.intp)
    return data.maker.compare(np.stack(predicted), data.actions[samples], task, tasks)


def ask(policy: Policy, data: Dataset, sample: int, domain: int) -> Question:
    """Return a sample as a question; its noise depends on the sample alone."""
    shape = policy.config.num_actions, policy.mode.dim
    random = np.random.default_rng(int(sample))
    return Question(
        images=data.images(sample),
        proprio=padded(data.proprio[sample], policy.network.dim_proprio),
        instruction=data.tasks[data.episode[sample]],
        domain_id=domain,
        noise=random.standard_normal(shape, dtype=np.float32),
    )


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
    data = Dataset(episodes, maker_of(embodiment, preparation.anchors), preparation)
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
