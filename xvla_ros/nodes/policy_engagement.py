# SPDX-License-Identifier: Apache-2.0
"""Being in motion: from the first target after a hold, checked step by step. No ROS in here."""

from collections.abc import Sequence
from dataclasses import replace

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.gripper import GripperFilter
from xvla_ros.core.safety import SafetyGate, Verdict
from xvla_ros.nodes.policy_state import State


class Engagement:
    """Whether targets are followed, since when, and what they are checked by. Its owner locks."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Begin at rest."""
        self._gate = SafetyGate(embodiment)
        self._grippers = [GripperFilter(arm.gripper) for arm in embodiment.arms.values()]
        self._ramp_ns = round(embodiment.control.engage_s * NANOSECONDS)
        self._since_ns: int | None = None

    def __bool__(self) -> bool:
        """Tell whether targets are followed."""
        return self._since_ns is not None

    def state(self, now_ns: int) -> State | None:
        """Return whether the ramp still lasts, None at rest."""
        if self._since_ns is None:
            return None
        return State.ENGAGING if now_ns - self._since_ns < self._ramp_ns else State.RUNNING

    def begin(self, measured: Sequence[ArmPose], now_ns: int) -> None:
        """Begin where the arms are, at rest."""
        self._since_ns = now_ns
        self._gate.reset()
        for arm, gripper in zip(measured, self._grippers, strict=True):
            gripper.reset(arm.gripper, now_ns)

    def end(self) -> None:
        """Come to a hold."""
        self._since_ns = None

    def open(self, planned: Sequence[ArmPose], now_ns: int) -> tuple[ArmPose, ...]:
        """Return planned targets with the model's probabilities turned into openings."""
        return tuple(
            replace(arm, gripper=gripper.update(arm.gripper, now_ns))
            for arm, gripper in zip(planned, self._grippers, strict=True)
        )

    def check(
        self, targets: Sequence[ArmPose], measured: Sequence[ArmPose], dt_s: float
    ) -> Verdict:
        """Judge the next step."""
        return self._gate.check_step(targets, measured, dt_s)
