# SPDX-License-Identifier: Apache-2.0
"""
Hands the controllers of the arms a piece of the plan that ends in a stop. Joint space only.

A joint_trajectory_controller executes what it has, even when nobody sends any more. So each step
is sent with the targets of the following `control.ahead_s`, as far as the gate allows them, and
with the braking after them. If this process ends or is late, the arms go on along this path and
stop at its end. Every state of it has passed the gate. The next step replaces the path.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
import math

import numpy as np

from xvla_ros.control.drivers import ArmStep
from xvla_ros.control.joint_path import JointPath, path_velocities
from xvla_ros.control.rest import at_rest
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.safety import SafetyGate
from xvla_ros.core.settings import ControlSettings

# Braking from any allowed speed is over after this many periods: 10 s at 50 Hz.
MOST_POINTS = 500

Targets = tuple[ArmPose, ...]


class Handover:
    """
    Remembers what was handed over, and where the arms' controllers are on it.

    The first point is due one period after it was sent; it is the state of the controller node's
    gate. When a step comes late, the arms are farther on, and the gate must be there, too.
    """

    def __init__(self, control: ControlSettings) -> None:
        """Begin with nothing handed over. `active`: whether paths are handed over at all."""
        self.active = control.ahead_s > 0
        self._period_s = 1.0 / control.rate_hz
        self._period_ns = round(self._period_s * NANOSECONDS)
        self.forget()

    def forget(self) -> None:
        """Forget the path: the arms were stopped elsewhere."""
        self._states: list[tuple[SafetyGate, Targets]] = []
        self._sent_ns = 0

    def catch_up(self, gate: SafetyGate, now_ns: int) -> tuple[SafetyGate, int]:
        """
        Return the gate at the point nearest to the arms by now, and how far that is [ns].

        :param gate: as it was after the last step.
        """
        passed = (now_ns - self._sent_ns + self._period_ns // 2) // self._period_ns - 1
        index = min(passed, len(self._states) - 1)
        if index < 1:
            return gate, 0
        del self._states[:index]
        self._sent_ns += index * self._period_ns
        return copy(self._states[0][0]), index * self._period_ns

    def longest_s(self, now_ns: int) -> float:
        """Return the longest step that may follow [s]: one period where the arms have stopped."""
        on_path = now_ns < self._sent_ns + len(self._states) * self._period_ns
        return math.inf if on_path or not self.active else self._period_s

    def lead(
        self,
        plans: Sequence[ArmStep],
        gate: SafetyGate,
        dt_s: float,
        now_ns: int,
        ahead: Sequence[Targets] = (),
        measured: Sequence[ArmPose] = (),
    ) -> tuple[ArmStep, ...]:
        """
        Return the plans of a step with the path that follows it.

        :param plans: of all arms. :param gate: after the step. :param dt_s: of the step.
        :param ahead: targets of the following periods. :param measured: for the gate's checks;
            not used without `ahead`.
        """
        if not self.active:
            return tuple(plans)
        targets = tuple(plan.target for plan in plans)
        start = self._states[0][1] if self._states else tuple(measured) or targets
        self._states = self._followed(gate, targets, ahead, measured)
        self._sent_ns = now_ns
        paths = [self._path(arm, start[arm], dt_s) for arm in range(len(plans))]
        return tuple(replace(p, path=path) for p, path in zip(plans, paths, strict=True))

    def _followed(
        self,
        gate: SafetyGate,
        targets: Targets,
        ahead: Sequence[Targets],
        measured: Sequence[ArmPose],
    ) -> list[tuple[SafetyGate, Targets]]:
        """Return the states after each period: the step, what the gate allows, and the stop."""
        states = [(copy(gate), targets)]
        for goals in ahead:
            state = copy(states[-1][0])
            verdict = state.check_step(goals, measured, self._period_s)
            if not verdict.targets:
                break
            states.append((state, verdict.targets))
            if not verdict.accepted:
                break
        while len(states) < MOST_POINTS:
            state = copy(states[-1][0])
            slower = state.hold(self._period_s)
            if slower is None or at_rest(states[-1][1], slower):
                break
            states.append((state, slower))
        return states

    def _path(self, arm: int, start: ArmPose, dt_s: float) -> JointPath:
        """Return the path of one arm."""
        q = np.array([start.joints, *(targets[arm].joints for _, targets in self._states)])
        speeds = path_velocities(q, dt_s, self._period_s)
        return JointPath(joints=q[1:], velocities=speeds, period_s=self._period_s)


def unmeasured(targets: Sequence[ArmPose]) -> tuple[ArmStep, ...]:
    """Return the plans of joint targets, which need no measurement."""
    return tuple(ArmStep(target=target, joints=target.joints) for target in targets)
