# SPDX-License-Identifier: Apache-2.0
"""
Action modes: the meaning of an action's numbers, their loss, and their conversion for output.

A mode is one class with `@register('name')`; a checkpoint names it as `action_mode`. Index lists,
weights and hooks are those of X-VLA's models/action_hub.py (or lerobot's, for modes that only
lerobot has). If the original has a known error, the docstring says what this package does instead.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import ClassVar

import torch
from torch.nn import functional as F

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.config import NetworkConfig

MODES: dict[str, type['ActionMode']] = {}


def register(name: str) -> Callable[[type['ActionMode']], type['ActionMode']]:
    """Register a mode under the name that a checkpoint's `action_mode` uses."""

    def add(mode: type['ActionMode']) -> type['ActionMode']:
        mode.name = name
        MODES[name] = mode
        return mode

    return add


def action_mode(config: NetworkConfig) -> 'ActionMode':
    """Build the mode a checkpoint names."""
    if config.action_mode not in MODES:
        raise CheckpointError(
            f'action_mode {config.action_mode!r} is unknown; known: {", ".join(sorted(MODES))}'
        )
    return MODES[config.action_mode](config)


class ActionMode:
    """
    One action space. `dim` is the width inside the network, `real_dim` the width of the output.

    `position`, `rotation` and `angle` are index lists used to measure how far two predictions are
    apart: metres, six numbers per Rotate6D, radians.
    """

    name: ClassVar[str] = ''
    dim: int = 20
    real_dim: int = 20
    dim_proprio: int = 20
    gripper: tuple[int, ...] = ()
    position: tuple[tuple[int, ...], ...] = ()
    rotation: tuple[tuple[int, ...], ...] = ()
    angle: tuple[int, ...] = ()
    masks_gripper: bool = False  # the network never sees gripper channels
    gripper_is_logit: bool = False

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return named, weighted terms; the total is their sum. Both tensors are (B, T, dim)."""
        raise NotImplementedError

    def preprocess(
        self, proprio: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return copies as inputs of the network, in training and at every denoising step."""
        return self.hide(proprio, self.dim_proprio), self.hide(action, self.dim)

    def hide(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        """Zero the gripper channels if the mode masks them, and pad the last axis to dim."""
        x = F.pad(x[..., : self.real_dim], (0, dim - self.real_dim)) if self.padded(x) else x
        if not self.masks_gripper:
            return x
        return x * ~self.grippers(x)

    def grippers(self, x: torch.Tensor) -> torch.Tensor:
        """Return which channels of (..., width) are grippers: (width,) bool on x's device."""
        channel = torch.arange(x.shape[-1], device=x.device)
        found = torch.zeros_like(channel, dtype=torch.bool)
        for index in self.gripper:
            found = found | (channel == index)
        return found

    def padded(self, x: torch.Tensor) -> bool:
        """Say whether a tensor has dummy channels after the real ones, which must be zero."""
        return False

    def postprocess(self, action: torch.Tensor) -> torch.Tensor:
        """Convert a raw prediction (..., dim) to the model's output (..., real_dim)."""
        action = action[..., : self.real_dim]
        if not self.gripper_is_logit:
            return action.clone()
        return torch.where(self.grippers(action), torch.sigmoid(action), action)

    def raw(self, action: torch.Tensor) -> torch.Tensor:
        """Convert the model's output (..., real_dim) back to the network's form."""
        if self.gripper_is_logit:
            logits = torch.logit(action, eps=1e-6)
            action = torch.where(self.grippers(action), logits, action)
        return F.pad(action, (0, self.dim - self.real_dim))


class CartesianMode(ActionMode):
    """Two arms as `[xyz 3 | Rotate6D 6 | gripper 1]`, metres, in each arm's base frame."""

    gripper = (9, 19)
    position = ((0, 1, 2), (10, 11, 12))
    rotation = (tuple(range(3, 9)), tuple(range(13, 19)))
    position_weight: ClassVar[float] = 500.0
    rotation_weight: ClassVar[float] = 10.0

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sum squared errors of both arms' positions and rotations, and a gripper term."""
        position = total(squared(prediction, target, arm) for arm in self.position)
        rotation = total(squared(prediction, target, arm) for arm in self.rotation)
        return {
            'position': self.position_weight * position,
            'rotate6d': self.rotation_weight * rotation,
            'gripper': self.gripper_loss(prediction, target),
        }

    def gripper_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the weighted gripper term."""
        raise NotImplementedError


@register('ee6d')
class EE6D(CartesianMode):
    """End-effector poses; grippers are trained as logits and hidden as input."""

    masks_gripper = True
    gripper_is_logit = True

    def gripper_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the binary cross entropy of both grippers, weight 1."""
        return crossed(prediction, target, self.gripper)


@register('agibot_ee6d')
class AgibotEE6D(CartesianMode):
    """Like `ee6d`, but grippers are plain numbers: used as input, squared error, no sigmoid."""

    def gripper_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return ten times the squared error of both grippers."""
        return 10.0 * squared(prediction, target, self.gripper)


@register('joint')
class Joint(ActionMode):
    """Two arms of six joints (radians) and a gripper logit each."""

    dim = real_dim = dim_proprio = 14
    gripper = (6, 13)
    angle = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)
    masks_gripper = True
    gripper_is_logit = True

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Squared error of the joints and a tenth of the grippers' binary cross entropy."""
        return {
            'joints': squared(prediction, target, self.angle),
            'gripper': 0.1 * crossed(prediction, target, self.gripper),
        }


def total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the sum of the terms of a loss."""
    return reduce(torch.add, terms)


def squared(a: torch.Tensor, b: torch.Tensor, index: tuple[int, ...]) -> torch.Tensor:
    """Return the mean squared error over some channels."""
    return F.mse_loss(a[..., list(index)], b[..., list(index)])


def crossed(logits: torch.Tensor, target: torch.Tensor, index: tuple[int, ...]) -> torch.Tensor:
    """Return the mean binary cross entropy over some channels; targets lie in [0, 1]."""
    channels = list(index)
    return F.binary_cross_entropy_with_logits(logits[..., channels], target[..., channels])
