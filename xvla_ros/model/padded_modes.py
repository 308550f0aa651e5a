# SPDX-License-Identifier: Apache-2.0
"""Action modes whose actions are shorter than the network's width."""

import torch

from xvla_ros.model.action_modes import ActionMode, register, squared
from xvla_ros.model.config import NetworkConfig


class PaddedMode(ActionMode):
    """
    A shorter action inside a 20-wide network.

    At inference the reference fills the dummy channels with noise and mixes in their untrained
    predictions. In training it pads with zeros after noising (2toINF), or mixes noise with a zero
    target (lerobot). Here the channels are zero in both, as in the training of 2toINF.
    """

    def padded(self, x: torch.Tensor) -> bool:
        """Accept the real width, or the full width, whose dummy channels are then zeroed."""
        if x.shape[-1] not in (self.real_dim, self.dim):
            raise ValueError(
                f'{self.name}: width {x.shape[-1]}, expected {self.real_dim} or {self.dim}'
            )
        return True

    def preprocess(
        self, proprio: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad the action; the proprioceptive vector stays unchanged."""
        return proprio, self.hide(action, self.dim)

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Squared error of the real channels."""
        return {'joints': squared(prediction, target, tuple(range(self.real_dim)))}


@register('auto')
class Auto(PaddedMode):
    """
    Any action of `real_action_dim` numbers, padded to `max_action_dim`.

    The loss weight is the authors' 100 (lerobot has 1). The proprioceptive vector is as long as
    the padded action, and the caller pads it, as with the authors' code.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.dim = self.dim_proprio = config.max_action_dim
        self.real_dim = config.real_action_dim
        self.angle = tuple(range(self.real_dim))

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """One hundred times the squared error of the real channels."""
        return {'joints': 100.0 * super().loss(prediction, target)['joints']}


@register('franka_joint7')
class FrankaJoint7(PaddedMode):
    """Seven joints of a Franka arm, radians; lerobot only."""

    real_dim = 7
    angle = tuple(range(7))


@register('so101_bimanual')
class SO101Bimanual(PaddedMode):
    """
    Two SO-101 arms of five joints and a gripper; lerobot only.

    lerobot trains the grippers by squared error but applies a sigmoid to the prediction, so that a
    closed gripper (0) becomes 0.5. Here no sigmoid is applied.
    """

    real_dim = 12
    gripper = (5, 11)
    angle = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)
    masks_gripper = True

    def preprocess(
        self, proprio: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad both and hide the grippers in both."""
        return self.hide(proprio, self.dim_proprio), self.hide(action, self.dim)

    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Squared errors of all twelve, of each arm, and of the grippers, each with weight 1."""
        return {
            'joints': squared(prediction, target, tuple(range(12))),
            'left_arm': squared(prediction, target, tuple(range(6))),
            'right_arm': squared(prediction, target, tuple(range(6, 12))),
            'gripper': squared(prediction, target, self.gripper),
        }
