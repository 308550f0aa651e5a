# SPDX-License-Identifier: Apache-2.0
"""Collects a policy's inputs in a replay of a bag, and the exact answers."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TYPE_CHECKING

from xvla_ros.core.embodiment import Embodiment

if TYPE_CHECKING:  # imports torch, which --help does not need
    from xvla_ros.runtime.predictor import Predictor

# The reference: ten steps in float32 from noise.
EXACT: Mapping[str, object] = {
    'policy.denoising_steps': 10,
    'policy.tolerance_mm': 0.0,
    'policy.warm_start_time': 0.0,
}
NAMES = ('images', 'proprio', 'instruction', 'domain_id')
SETTINGS = ('steps', 'tolerance', 'warm_start')


class Remembering:
    """A predictor that stores the arguments and the answers of its first calls."""

    def __init__(self, predictor: 'Predictor', most: int) -> None:
        """Pass calls on to a predictor."""
        self._predictor, self._most = predictor, most
        self.asked: list[dict[str, Any]] = []
        self.exact: list[Any] = []

    def predict(self, *args: Any, **options: Any) -> Any:
        """Answer, and store the first calls with noise and prefix."""
        chunk = self._predictor.predict(*args, **options)
        if len(self.asked) < self._most:
            call = dict(zip(NAMES, args, strict=False)) | options
            self.asked.append({n: v for n, v in call.items() if n not in SETTINGS})
            self.exact.append(chunk)
        return chunk


def observations(
    bag: Path, checkpoint: Path, embodiment: Path | None, most: int, latency_s: float
) -> tuple[Remembering, Embodiment]:
    """
    Replay a bag with the exact policy; return its inputs, and the robot.

    :param most: number of observations to store, from the start of the bag.
    :raises ObservationError: the bag holds none.
    """
    from xvla_ros.replay.options import Options
    from xvla_ros.replay.run import replay_deterministic
    from xvla_ros.tools.transforms import recorded_transforms

    found: list[Remembering] = []

    def wrapped(predictor: 'Predictor') -> Remembering:
        found.append(Remembering(predictor, most))
        return found[-1]

    options = Options(
        embodiment=embodiment,
        overrides=EXACT,
        checkpoint=checkpoint,
        latency_s=latency_s,
        transforms=recorded_transforms(),
        wrap=wrapped,
    )
    with TemporaryDirectory() as scratch:
        replayed = replay_deterministic(bag, Path(scratch), options)
    return found[-1], replayed.embodiment
