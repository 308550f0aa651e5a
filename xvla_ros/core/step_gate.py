# SPDX-License-Identifier: Apache-2.0
"""The half of the safety gate that checks every step before it is published."""

from collections.abc import Sequence
from dataclasses import replace
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.motion import (
    advance,
    at_rest,
    between,
    norm,
    paced,
    quaternion_of,
    Step,
    stopped,
    ToolLimits,
    ToolState,
)
from xvla_ros.core.quaternions import difference
from xvla_ros.core.settings import LimitSettings
from xvla_ros.core.verdict import MEANING, RULES, Verdict
from xvla_ros.core.workspace import segment_distance, to_world, TOLERANCE_M, workspace

Array = NDArray[np.float64]

# Longest time [s] that one step may use of the limits (or 1.5 control periods, if longer). After a
# late tick the step does not grow: the robot would see it as one jump.
LONGEST_STEP_S = 0.1
# After a gap of this many such times the robot has stopped, and a new motion begins where it is.
GAP = 5
# Motion may begin this far [m] outside the workspace (sag, noise); its first target lies inside.
START_TOLERANCE_M = 0.01
# Bisections between braking and the wanted step; 2^-12 of a step is below a micrometre.
HALVINGS = 12


class StepGate:
    """
    Refuses steps that leave the workspace, are too fast or hard, or bring the arms too close.

    Each step continues from the last one that the gate allowed, and every state that it allows can
    be braked to a stop inside the workspace. If a target allows nothing else, the gate brakes. No
    sequence of targets can therefore break a limit.
    Not thread-safe: one gate per thread. A copy (`copy.copy`) continues the same motion
    independently, because a gate never changes its values in place.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Read limits and workspaces; nothing has moved yet."""
        self._arms = tuple(embodiment.arms.values())
        self._spaces = tuple(workspace(arm) for arm in self._arms)
        self.limit(embodiment.limits)
        self._longest_s = max(LONGEST_STEP_S, 1.5 / embodiment.control.rate_hz)
        self.reset()

    def limit(self, limits: LimitSettings) -> None:
        """
        Use other limits from the next step on.

        During a motion only speeds may fall, because braking relies on the acceleration.
        """
        self._limits, self._motion = limits, ToolLimits(limits)

    def reset(self) -> None:
        """Forget the motion: the next step starts at rest from the measured poses."""
        self._states: tuple[ToolState, ...] | None = None
        self._goals: tuple[ToolState, ...] | None = None
        self._grippers = (math.nan,) * len(self._spaces)

    def rest(self) -> None:
        """Note that the tools have stopped at their last targets."""
        self._states = tuple(map(stopped, self._states or ())) or None

    def check(
        self, targets: Sequence[ArmPose], measured: Sequence[ArmPose], dt_s: float
    ) -> Verdict:
        """
        Check one step before it is published.

        :param targets: one per arm, base frame, gripper as an opening or NaN (leave it).
        :param measured: poses of the tools; a motion starts there.
        :param dt_s: time since the step before.
        """
        refusal = self._refusal(targets, measured, dt_s)
        if refusal or self._states is None:
            return self._verdict(False, self.hold(dt_s), refusal)
        dt_s = min(dt_s, self._longest_s)
        goals, reasons = self._goal_states(targets, dt_s)
        pairs = zip(self._states, goals, strict=True)
        steps = tuple(self._motion.towards(state, goal, dt_s) for state, goal in pairs)
        reasons += [reason for step in steps for reason in step.broken]
        contained, unsafe = self._contained(steps, dt_s)
        reasons = list(dict.fromkeys(reasons + unsafe))
        self._goals = goals
        if any(getattr(self._limits, RULES[reason]) == 'reject' for reason in reasons):
            return self._verdict(False, self._brake(dt_s), reasons)
        self._grippers = tuple(opening_of(target.gripper) for target in targets)
        self._move(contained, dt_s, None if unsafe else goals)
        return self._verdict(True, self._poses(), reasons)

    def hold(self, dt_s: float) -> tuple[ArmPose, ...] | None:
        """Return the next targets of braking to a stop and staying there; None before a motion."""
        if self._states is None or not dt_s > 0:
            return None
        self._goals = None
        return self._brake(min(dt_s, self._longest_s))

    def _refusal(
        self, targets: Sequence[ArmPose], measured: Sequence[ArmPose], dt_s: float
    ) -> list[str]:
        """Start a motion if none runs; return why this step cannot be checked, if so."""
        if len(targets) != len(self._spaces) or len(measured) != len(self._spaces):
            return ['arms']
        if not 0 < dt_s < math.inf:
            return ['time']
        if self._states is not None and dt_s > GAP * self._longest_s:
            self.reset() if self._far(measured, self._states) else self.rest()
        return self._begin(targets, measured) if self._states is None else []

    def _begin(self, targets: Sequence[ArmPose], measured: Sequence[ArmPose]) -> list[str]:
        """Start a motion at rest from the measured poses, or return why that is forbidden."""
        states = tuple(
            at_rest(space.nearest(arm.position), arm)
            for space, arm in zip(self._spaces, measured, strict=True)
        )
        pairs = tuple(zip(states, measured, strict=True))
        if any(norm(state.position - arm.position) > START_TOLERANCE_M for state, arm in pairs):
            return ['workspace']
        if not self._apart([(state.position, state.position) for state in states]):
            return ['arm_distance']
        if self._limits.on_first_step == 'reject' and self._far(targets, states):
            return ['first_step']
        self._states, self._goals = states, None
        return []

    def _far(self, arms: Sequence[ArmPose], states: Sequence[ToolState]) -> bool:
        """Return whether any arm is farther from its state than a first step may reach."""
        return any(
            norm(arm.position - state.position) > self._limits.max_first_step_m
            or norm(np.array(difference(state.quaternion, quaternion_of(arm))))
            > self._limits.max_first_step_rad
            for arm, state in zip(arms, states, strict=True)
        )

    def _goal_states(
        self, targets: Sequence[ArmPose], dt_s: float
    ) -> tuple[tuple[ToolState, ...], list[str]]:
        """Return targets moved into the workspaces, with their velocities, and the reasons."""
        before = self._goals or (None,) * len(targets)
        goals, outside = [], False
        for target, last, space in zip(targets, before, self._spaces, strict=True):
            position = space.nearest(target.position)
            outside = outside or norm(position - target.position) > TOLERANCE_M
            goal = at_rest(position, target)
            goals.append(goal if last is None else paced(goal, last, dt_s))
        return tuple(goals), ['workspace'] if outside else []

    def _contained(
        self, steps: tuple[Step, ...], dt_s: float
    ) -> tuple[tuple[Step, ...], list[str]]:
        """Return the steps, mixed with as much braking as a stop inside the limits needs."""
        if not (unsafe := self._unsafe(steps, dt_s)):
            return steps, []
        brakes = tuple(self._motion.brake(state, dt_s) for state in self._states or ())
        pairs = tuple(zip(brakes, steps, strict=True))
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            share = (low + high) / 2
            safe = not self._unsafe(tuple(between(b, s, share) for b, s in pairs), dt_s)
            low, high = (share, high) if safe else (low, share)
        return tuple(between(b, s, low) for b, s in pairs), [unsafe]

    def _unsafe(self, steps: tuple[Step, ...], dt_s: float) -> str:
        """Return the limit that braking after these steps would break; empty for none."""
        paths = []
        for state, step, space in zip(self._states or (), steps, self._spaces, strict=True):
            position = state.position + step.velocity * dt_s
            stop = position + self._motion.linear.stopping(step.velocity)
            if not (space.contains_point(position) and space.contains_point(stop)):
                return 'linear_acceleration'
            paths.append((position, stop))
        return '' if self._apart(paths) else 'arm_distance'

    def _apart(self, paths: Sequence[tuple[Array, Array]]) -> bool:
        """Return whether two tools keep their distance along straight paths in the world."""
        least = self._limits.min_arm_distance_m
        if len(paths) < 2 or least <= 0:
            return True
        ends = [to_world(arm, np.stack(p)) for arm, p in zip(self._arms, paths, strict=True)]
        return segment_distance(*ends[0], *ends[1]) >= least

    def _brake(self, dt_s: float) -> tuple[ArmPose, ...]:
        """Brake by one step and return its targets."""
        self._move(tuple(self._motion.brake(s, dt_s) for s in self._states or ()), dt_s, None)
        return self._poses()

    def _move(
        self, steps: tuple[Step, ...], dt_s: float, goals: tuple[ToolState, ...] | None
    ) -> None:
        """Advance the states; an unlimited step ends exactly at its goal."""
        states = []
        for index, (state, step) in enumerate(zip(self._states or (), steps, strict=True)):
            after = advance(state, step, dt_s)
            if goals is not None and not step.broken:
                after = replace(goals[index], velocity=step.velocity, spin=step.spin)
            space = self._spaces[index]
            states.append(replace(after, position=np.clip(after.position, space.low, space.high)))
        self._states = tuple(states)

    def _poses(self) -> tuple[ArmPose, ...]:
        """Return the states as targets."""
        return tuple(
            ArmPose(position=s.position, quaternion=np.array(s.quaternion), gripper=gripper)
            for s, gripper in zip(self._states or (), self._grippers, strict=True)
        )

    def _verdict(
        self, accepted: bool, targets: tuple[ArmPose, ...] | None, reasons: Sequence[str]
    ) -> Verdict:
        message = '' if accepted else '; '.join(MEANING[reason] for reason in reasons)
        return Verdict(accepted=accepted, targets=targets, reasons=tuple(reasons), message=message)


def opening_of(gripper: float) -> float:
    """Return an opening clipped to 0..1; NaN (leave the gripper as it is) when unknown."""
    return min(max(gripper, 0.0), 1.0) if math.isfinite(gripper) else math.nan
