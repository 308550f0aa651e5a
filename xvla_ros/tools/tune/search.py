# SPDX-License-Identifier: Apache-2.0
"""Tries settings on observations: measures time and difference from the exact answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
import time
from typing import Any, NamedTuple

from numpy.typing import NDArray
import torch

from xvla_ros.core.warm_start import shifted_plan, WarmStart
from xvla_ros.model.backends.int8 import can_round, linear_layers, pack_int8
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.loading import load_policy, read_processors
from xvla_ros.model.normalisation import read_normalisation
from xvla_ros.model.packing import bfloat16_slower
from xvla_ros.model.policy import Policy
from xvla_ros.model.reading import read_config
from xvla_ros.model.sampler import Deviation, deviation

# Number of observations and steps for ranking the layers for int8.
RANKED_WITH, RANKED_STEPS = 8, 1
# Start time of a run from the plan: the last of the reference's ten times.
WARM_TIME = 0.1


class Bound(NamedTuple):
    """The largest allowed error."""

    position_mm: float = 1.0
    rotation_deg: float = 0.5

    def holds(self, found: Deviation) -> bool:
        """Say whether an error is within the bound."""
        return found.position_mm <= self.position_mm and found.rotation_deg <= self.rotation_deg


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Values of the parameters of the same names."""

    backend: str = 'torch'
    dtype: str = 'float32'
    denoising_steps: int = 10
    tolerance_mm: float = 0.0
    tolerance_deg: float = 0.0
    warm_start_time: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """
    The results of a setting.

    worst: the largest errors over all observations. seconds: median of a chunk. steps: median.
    """

    setting: Setting
    worst: Deviation
    seconds: float
    steps: int


def runs() -> Iterator[dict[str, Any]]:
    """Yield options of the sampler, as fields of a Setting."""
    for steps in (10, 5, 3, 2, 1):
        yield {'denoising_steps': steps}
    yield {'tolerance_mm': 0.2, 'tolerance_deg': 0.1}
    yield {'denoising_steps': 1, 'warm_start_time': WARM_TIME}


def apart(policy: Policy, chunk: NDArray[Any], exact: NDArray[Any]) -> Deviation:
    """Return the difference of a chunk from the exact one."""
    return deviation(torch.from_numpy(chunk), torch.from_numpy(exact), policy.mode, raw=False)


def largest(found: Sequence[Deviation]) -> Deviation:
    """Return the largest of every kind of error."""
    return Deviation(
        position_mm=max(d.position_mm for d in found),
        rotation_deg=max(d.rotation_deg for d in found),
        gripper=max(d.gripper for d in found),
    )


def tried(
    policy: Policy,
    setting: Setting,
    asked: Sequence[dict[str, Any]],
    exact: Sequence[NDArray[Any]],
    replan_s: float,
    period_s: float,
) -> Trial:
    """
    Answer observations in order with a setting.

    :param replan_s: time between two observations. :param period_s: time between two anchors.
    """
    found, seconds, steps, words = [], [], [], None
    last: NDArray[Any] | None = None
    tolerance = (setting.tolerance_mm, setting.tolerance_deg) if setting.tolerance_mm else None
    for observation, expected in zip(asked, exact, strict=True):
        if observation['instruction'] != words:  # another task begins without a plan
            last, words = None, observation['instruction']
        plan = None if last is None else shifted_plan(last, replan_s, period_s)
        time_ = setting.warm_start_time
        start = WarmStart(plan=plan, time=time_) if time_ else None
        began = time.perf_counter()
        last = policy.predict(
            **observation, steps=setting.denoising_steps, tolerance=tolerance, warm_start=start
        )
        seconds.append(time.perf_counter() - began)
        steps.append(policy.last_steps)
        found.append(apart(policy, last, expected))
    return Trial(
        setting=setting,
        worst=largest(found),
        seconds=median(seconds),
        steps=int(median(steps)),
    )


def variants(folder: Path) -> list[tuple[str, str]]:
    """Return backends and dtypes of a checkpoint or an exported folder."""
    from importlib.util import find_spec

    from xvla_ros.model.backends.exported import is_exported, read_manifest
    from xvla_ros.model.backends.runtimes import READS

    if is_exported(folder):
        suffix = '.xml' if read_manifest(folder).format == 'openvino' else '.onnx'
        there = [name for name, reads in READS.items() if suffix in reads and find_spec(name)]
        more = [('openvino', 'bfloat16')] if 'openvino' in there else []
        return [(name, 'float32') for name in there] + more
    width = read_config(folder).hidden_size
    dtypes = ['float32', *([] if bfloat16_slower(width) else ['bfloat16'])]
    return [('torch', dtype) for dtype in [*dtypes, *(['int8'] if can_round() else [])]]


def rounded(folder: Path, float_layers: Sequence[str]) -> Policy:
    """Load a checkpoint in int8 with some layers in float32."""
    config = read_config(folder)
    images, text = read_processors(folder, config)
    network = load_network(folder, config, torch.float32)
    lengths = network.dim_proprio, network.mode.real_dim
    pack_int8(network, 'cpu', float_layers)
    normalisation = read_normalisation(folder, config, *lengths)
    return Policy(network, images, text, normalisation=normalisation)


def float_layers(
    folder: Path, asked: Sequence[dict[str, Any]], bound: Bound, progress: Callable[[str], object]
) -> tuple[str, ...]:
    """
    Return the layers that int8 leaves in float32 so that the error is within a bound.

    Layers are ranked by the error that each causes when it alone is rounded; the first of the
    ranking stay in float32, twice as many until the bound holds with a tenth to spare.
    """
    some = list(asked[:: max(1, len(asked) // RANKED_WITH)])[:RANKED_WITH]
    policy = load_policy(folder)
    exact = [policy.predict(**observation, steps=RANKED_STEPS) for observation in some]
    names = linear_layers(load_network(folder, read_config(folder), torch.float32))

    def error(kept: Sequence[str]) -> Deviation:
        made = rounded(folder, kept)
        chunks = [made.predict(**observation, steps=RANKED_STEPS) for observation in some]
        return largest([apart(made, *pair) for pair in zip(chunks, exact, strict=True)])

    tight = Bound(0.9 * bound.position_mm, 0.9 * bound.rotation_deg)
    if tight.holds(error([])):
        return ()
    ranking = []
    for name in names:
        alone = error([other for other in names if other != name])
        share = max(alone.position_mm / bound.position_mm, alone.rotation_deg / bound.rotation_deg)
        ranking.append((share, name))
        progress(name)
    ranking.sort(reverse=True)
    count = 2
    while count < len(names) and not tight.holds(error([n for _, n in ranking[:count]])):
        count *= 2
    return tuple(name for _, name in ranking[:count])
