# SPDX-License-Identifier: Apache-2.0
"""A chunk: the future actions that one inference predicts from one observation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import arm_count, EE6D_SIZE

NANOSECONDS = 1_000_000_000
# Periods from an observation to the first action of its chunk, in the authors' checkpoints (X-VLA
# datasets/domain_handler/base.py). In LeRobot's checkpoints it is 0
# (policies/xvla/configuration_xvla.py, action_delta_indices).
FIRST_INDEX = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chunk:
    """
    Anchors, each due at its own time on the observation's clock.

    stamp_ns: when the oldest input of the observation was measured. period_s: time between
    anchors. actions: (T, 20) in the embodiment's Rotate6D layout, robot base frame, metres;
    grippers are the model's probabilities. Values are not checked here and may be NaN: the safety
    gate checks them. sequence: number of the inference, from 1. first_index: how many periods
    after `stamp_ns` the first anchor is due, 0 or 1.

    joint_counts: how many joints each arm has, in joint space. The actions are (T, sum of n + 1)
    there, per arm its joints [rad] and the opening of its gripper, 0 closed to 1 open, NaN where
    the checkpoint has none.
    """

    stamp_ns: int
    period_s: float
    actions: NDArray[np.float64]
    sequence: int = 0
    first_index: int = FIRST_INDEX
    joint_counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Copy the actions, check their shape and the period, and make them read-only."""
        actions = np.array(self.actions, dtype=np.float64)
        width = sum(self.joint_counts) + len(self.joint_counts) or EE6D_SIZE
        if actions.ndim != 2 or actions.shape[0] < 1 or actions.shape[1] != width:
            raise ValueError(
                f'chunk actions must be (T, {width}) with T >= 1, got {actions.shape}'
            )
        if not 0 < self.period_s < float('inf'):
            raise ValueError(f'chunk period must be positive and finite, got {self.period_s} s')
        if self.first_index not in (0, 1):
            raise ValueError(f'chunk first_index must be 0 or 1, got {self.first_index}')
        actions.setflags(write=False)
        object.__setattr__(self, 'actions', actions)

    @property
    def arms(self) -> int:
        """How many arms the chunk moves."""
        return len(self.joint_counts) or arm_count(self.actions)

    @property
    def period_ns(self) -> int:
        """Time between anchors, in nanoseconds."""
        return round(self.period_s * NANOSECONDS)

    @property
    def end_ns(self) -> int:
        """When the last anchor is due."""
        return self.due_ns(len(self.actions) - 1)

    def due_ns(self, index: int) -> int:
        """Return when anchor `index` is due."""
        return self.stamp_ns + (index + self.first_index) * self.period_ns
