# SPDX-License-Identifier: Apache-2.0
"""
X-VLA's sampler: predict the clean chunk, mix it with the *same* noise again, repeat.

x_t = t * noise + (1 - t) * action with t = steps/steps .. 1/steps. The paper describes Euler steps
of a velocity field; the code behind the checkpoints does this (models/modeling_xvla.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
import math

import torch

from xvla_ros.model.action_modes import ActionMode

# Largest time drawn in training is 1 - 1e-5 (models/modeling_xvla.py).
TIME_MODULUS = 1.0 - 1e-5
# Largest change of a gripper probability under which two predictions count as equal.
GRIPPER_TOLERANCE = 0.05

Predict = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How close two successive predictions must be to skip to the last step; zero: never skip."""

    position_mm: float = 0.0
    rotation_deg: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """Largest distance between two chunks, over all steps and arms."""

    position_mm: float
    rotation_deg: float
    gripper: float

    def within(self, tolerance: Tolerance) -> bool:
        """Say whether the distance is inside a tolerance."""
        return (
            self.position_mm <= tolerance.position_mm
            and self.rotation_deg <= tolerance.rotation_deg
            and self.gripper <= GRIPPER_TOLERANCE
        )


def flow_times(steps: int, start: float = 1.0) -> tuple[float, ...]:
    """Return the times of a run, from `start` down to start / steps."""
    return tuple(start * i / steps for i in range(steps, 0, -1))


def mix(noise: torch.Tensor, action: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
    """Return the noisy action at time t: pure noise at 1, the action at 0."""
    return t * noise + (1 - t) * action


def stratified_times(batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw training times (batch,) in random order, evenly spaced with a random offset."""
    offset = torch.rand((), generator=generator)
    order = torch.randperm(batch, generator=generator)
    return (offset + order / batch) % TIME_MODULUS


def sample(
    predict: Predict,
    noise: torch.Tensor,
    times: tuple[float, ...],
    mode: ActionMode,
    *,
    prefix: torch.Tensor | None = None,
    plan: torch.Tensor | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[torch.Tensor, int]:
    """
    Denoise one batch of chunks.

    :param predict: maps a noisy chunk (B, T, dim) and the index of its time to a clean one.
    :param noise: (B, T, dim), reused at every step.
    :param prefix: (B, d, dim) committed steps, which replace the first d of every prediction.
    :param plan: (B, T, dim) first guess of the clean chunk, for runs that start below t = 1.
    :param tolerance: once two successive predictions are this close, skip to the last time. The
        noise level of the input changes the answer more than the number of steps.
    :return: the raw clean chunk (B, T, dim), and the number of predictions.
    """
    action = torch.zeros_like(noise) if plan is None else plan
    if tolerance == Tolerance():
        tolerance = None
    index, used, last = 0, 0, len(times) - 1
    while index <= last:
        previous = action
        action = predict(mix(noise, action, times[index]), index).to(noise.dtype)
        if prefix is not None:
            action = torch.cat([prefix, action[:, prefix.shape[1] :]], dim=1)
        used += 1
        settled = (
            tolerance is not None
            and used > 1
            and deviation(action, previous, mode).within(tolerance)
        )
        index = max(index + 1, last) if settled else index + 1
    return action, used


def deviation(a: torch.Tensor, b: torch.Tensor, mode: ActionMode, raw: bool = True) -> Deviation:
    """
    Measure the distance between two chunks (..., dim).

    The rotation bound holds for both Rotate6D layouts: two columns turned by an angle differ by at
    least 2 sin(angle / 2) together, so the angle is at most 2 asin(difference / 2).

    :param raw: gripper channels are still logits if the mode has logits.
    """
    position = [_norm(a - b, arm) * 1e3 for arm in mode.position]
    turns = [_turn_deg(a, b, arm) for arm in mode.rotation]
    if mode.angle:
        turns.append(math.degrees((a - b)[..., list(mode.angle)].abs().max().item()))
    grip = (x[..., list(mode.gripper)] for x in (a, b))
    grip_a, grip_b = (x.sigmoid() if raw and mode.gripper_is_logit else x for x in grip)
    change = (grip_a - grip_b).abs().max().item() if mode.gripper else 0.0
    return Deviation(
        position_mm=max(position, default=0.0),
        rotation_deg=max(turns, default=0.0),
        gripper=change,
    )


def _norm(x: torch.Tensor, index: tuple[int, ...]) -> float:
    """Return the largest Euclidean length of some channels over the chunk."""
    return x[..., list(index)].norm(dim=-1).max().item()


def _turn_deg(a: torch.Tensor, b: torch.Tensor, index: tuple[int, ...]) -> float:
    """
    Bound the angle between two Rotate6D vectors, in degrees.

    Both are first scaled to the length of two unit columns. A missing arm (near zero) gives zero.
    """
    a, b = a[..., list(index)], b[..., list(index)]
    length_a, length_b = a.norm(dim=-1), b.norm(dim=-1)
    present = torch.minimum(length_a, length_b) > 0.1 * math.sqrt(2)
    scale = math.sqrt(2) / length_a.clamp_min(1e-9)
    other = math.sqrt(2) / length_b.clamp_min(1e-9)
    apart = (a * scale[..., None] - b * other[..., None]).norm(dim=-1)
    angle = 2 * torch.asin((apart / 2).clamp(max=1.0))
    return math.degrees(torch.where(present, angle, 0.0).max().item())
