# SPDX-License-Identifier: Apache-2.0
"""The half of the safety gate that checks every step before it is published, in joint space."""

from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_model import JointModel, parts, Tool, tool_share
from xvla_ros.core.limit_settings import LimitSettings
from xvla_ros.core.step_gate import GAP, HALVINGS, LONGEST_STEP_S, opening_of, START_TOLERANCE_M
from xvla_ros.core.verdict import MEANING, RULES, Verdict
from xvla_ros.core.workspace import to_world, TOLERANCE_M, workspace

Array = NDArray[np.float64]
# A broken rule: its code, and a text that names joint, arm or links.
Broken = tuple[str, str]

# A stop is checked at points at most this far apart in any joint [rad].
SAMPLE_RAD = 0.1
MOST_SAMPLES = 8


class JointStepGate:
    """
    Allows only steps after which the arms can still stop within all limits and without collision.

    The counterpart of `StepGate`, with the same interface: targets are ArmPoses with joints. From
    every state that it allows, braking in a straight line in joint space stays inside the joints'
    limits and the workspaces, with the tools apart and without collision. If a target allows
    nothing else, the gate brakes. Not thread-safe; a copy continues the same motion independently.
    """

    def __init__(self, embodiment: Embodiment, model: JointModel) -> None:
        """Read limits and workspaces; nothing has moved yet."""
        self._model, self._bounds = model, model.bounds
        self._arms, self._names = tuple(embodiment.arms.values()), embodiment.arm_names
        self._spaces = tuple(workspace(arm) for arm in self._arms)
        self._parts = parts(model.joint_counts)
        self._longest_s = max(LONGEST_STEP_S, 1.5 / embodiment.control.rate_hz)
        self.limit(embodiment.limits)
        self.reset()

    def limit(self, limits: LimitSettings) -> None:
        """Use other tool limits from the next step on; the joint limits stay."""
        self._limits = limits

    def reset(self) -> None:
        """Forget the motion: the next step starts at rest from the measured joints."""
        self._q: Array | None = None
        self._v: Array = np.zeros(len(self._bounds.names))
        self._goal: Array | None = None
        self._slack_m = TOLERANCE_M
        self._grippers = (math.nan,) * len(self._names)

    def rest(self) -> None:
        """Note that the arms have stopped at their last targets."""
        self._v = np.zeros_like(self._v)

    def check(
        self, targets: Sequence[ArmPose], measured: Sequence[ArmPose], dt_s: float
    ) -> Verdict:
        """
        Check one step before it is published.

        :param targets: one per arm, with joints [rad]; gripper as an opening or NaN (leave it).
        :param measured: of the arms; a motion starts there.
        :param dt_s: time since the step before.
        """
        refusal = self._refusal(targets, measured, dt_s)
        q = self._q
        if refusal or q is None:
            return self._verdict(False, self.hold(dt_s), refusal)
        dt_s = min(dt_s, self._longest_s)
        goal, broken = self._inside(_joints(targets), q)
        v, too_much = self._towards(q, goal, dt_s)
        v, unsafe = self._contained(q, v, dt_s)
        touching = self._touching(q + v * dt_s, v)
        broken += too_much + unsafe + touching
        self._goal = goal
        if touching or any(self._rejects(code) for code, _ in broken):
            return self._verdict(False, self._brake(dt_s), broken)
        self._grippers = tuple(opening_of(target.gripper) for target in targets)
        self._q = q + v * dt_s if too_much or unsafe else goal
        self._v = v
        return self._verdict(True, self._poses(), broken)

    def hold(self, dt_s: float) -> tuple[ArmPose, ...] | None:
        """Return the next targets of braking to a stop and staying there; None before a motion."""
        if self._q is None or not dt_s > 0:
            return None
        self._goal = None
        return self._brake(min(dt_s, self._longest_s))

    def _rejects(self, code: str) -> bool:
        return bool(getattr(self._limits, RULES[code]) == 'reject')

    def _refusal(
        self, targets: Sequence[ArmPose], measured: Sequence[ArmPose], dt_s: float
    ) -> list[Broken]:
        """Start a motion if none runs; return why this step cannot be checked, if so."""
        if len(targets) != len(self._names) or len(measured) != len(self._names):
            return [_plain('arms')]
        counts = self._model.joint_counts
        for arm, count in zip((*targets, *measured), counts * 2, strict=True):
            if arm.joints is None or len(arm.joints) != count:
                return [_plain('joints')]
        if not 0 < dt_s < math.inf:
            return [_plain('time')]
        here = _joints(measured)
        if self._q is not None and dt_s > GAP * self._longest_s:
            self.reset() if self._far(here, self._q) else self.rest()
        return self._begin(_joints(targets), here) if self._q is None else []

    def _begin(self, goal: Array, here: Array) -> list[Broken]:
        """Start a motion at rest from the measured joints, or return why that is forbidden."""
        tools = self._model.tools(here)
        inside = [s.contains_point(p) for s, (p, _) in zip(self._spaces, tools, strict=True)]
        self._slack_m = TOLERANCE_M if all(inside) else START_TOLERANCE_M
        if broken := self._misplaced(tools):
            return [broken]
        if links := self._model.collision(here):
            return [('collision', f'where the arms are measured, {links}')]
        if self._limits.on_first_step == 'reject' and (far := self._far(goal, here)):
            return far
        self._q, self._v, self._goal = here, np.zeros_like(here), None
        return []

    def _far(self, goal: Array, here: Array) -> list[Broken]:
        """Return which joint is too far from its measured position for a first step."""
        off, most = np.abs(goal - here), self._limits.max_first_step_joint_rad
        if not (off > most).any():
            return []
        worst = int(np.argmax(off))
        text = (
            f"joint '{self._bounds.names[worst]}' would jump from {here[worst]:.3f} to "
            f'{goal[worst]:.3f} rad, limit {most} rad'
        )
        return [('first_step', text)]

    def _inside(self, goal: Array, q: Array) -> tuple[Array, list[Broken]]:
        """Return a goal moved into the joints' limits; one beyond may stay or come back."""
        bounds = self._bounds
        clipped = np.clip(goal, np.minimum(bounds.lower, q), np.maximum(bounds.upper, q))
        off = np.abs(clipped - goal)
        if not (off > 1e-9).any():
            return clipped, []
        worst = int(np.argmax(off))
        text = f"joint '{bounds.names[worst]}' is {off[worst]:.3f} rad beyond its limit"
        return clipped, [('joint_position', text)]

    def _towards(self, q: Array, goal: Array, dt_s: float) -> tuple[Array, list[Broken]]:
        """Return the velocity of a step towards a goal, and which limits shortened it."""
        bounds, broken = self._bounds, []
        pace = np.zeros_like(q) if self._goal is None else (goal - self._goal) / dt_s
        v = (goal - q) / dt_s
        fastest = bounds.fastest(q, v)
        if (np.abs(v) > fastest).any():
            broken.append(self._named('joint_speed', np.abs(v) / np.maximum(fastest, 1e-9)))
        change = np.maximum(np.abs(v - self._v), np.abs(v - pace)) / dt_s
        if (change > bounds.acceleration).any():
            broken.append(self._named('joint_acceleration', change / bounds.acceleration))
        if broken:
            v = bounds.approach(goal - q, pace, self._v, q, dt_s)
        pairs = zip(self._model.tools(q), self._model.tools(q + v * dt_s), strict=True)
        share, code = tool_share(list(pairs), self._limits, dt_s)
        if share < 1:
            broken.append(_plain(code))
            v = bounds.nearer(v * share, self._v, dt_s)
        return v, broken

    def _named(self, code: str, shares: Array) -> Broken:
        return code, f"joint '{self._bounds.names[int(np.argmax(shares))]}': {MEANING[code]}"

    def _contained(self, q: Array, v: Array, dt_s: float) -> tuple[Array, list[Broken]]:
        """Return the step, mixed with as much braking as a stop inside the limits needs."""
        if (unsafe := self._unsafe(q, v, dt_s)) is None:
            return v, []
        brake = self._bounds.brake(self._v, dt_s)
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            share = (low + high) / 2
            safe = self._unsafe(q, brake + share * (v - brake), dt_s) is None
            low, high = (share, high) if safe else (low, share)
        return brake + low * (v - brake), [unsafe]

    def _unsafe(self, q: Array, v: Array, dt_s: float) -> Broken | None:
        """Return the limit that braking after this step would break; None for none."""
        after = q + v * dt_s
        joint = self._bounds.outside(after, v, q)
        if joint is not None:
            name = self._bounds.names[joint]
            return 'joint_acceleration', f"joint '{name}' could not stop before its limit"
        for point in self._path(after, v):
            if broken := self._misplaced(self._model.tools(point)):
                return broken
        return None

    def _misplaced(self, tools: Sequence[Tool]) -> Broken | None:
        """Return which tool is outside its workspace, or that the tools are too close."""
        for name, space, (position, _) in zip(self._names, self._spaces, tools, strict=True):
            if not (space.contains_point(position) or space.contains(position, self._slack_m)):
                return 'workspace', f'arm {name}: {MEANING["workspace"]}'
        least = self._limits.min_arm_distance_m
        if len(tools) == 2 and least > 0:
            one, other = (to_world(a, t[0]) for a, t in zip(self._arms, tools, strict=True))
            if math.dist(one.tolist(), other.tolist()) < least:
                return _plain('arm_distance')
        return None

    def _touching(self, after: Array, v: Array) -> list[Broken]:
        """Return which links would collide in this step or in a stop after it."""
        for point in self._path(after, v):
            if links := self._model.collision(point):
                return [('collision', links)]
        return []

    def _path(self, after: Array, v: Array) -> list[Array]:
        """Return joints on the way from the end of a step to the stop after it."""
        end = self._bounds.stop(after, v)
        reach = float(np.abs(end - after).max())
        count = min(math.ceil(reach / SAMPLE_RAD), MOST_SAMPLES)
        shares = [(i + 1) / count for i in range(count)] if reach > 1e-6 else []
        return [after, *(after + share * (end - after) for share in shares)]

    def _brake(self, dt_s: float) -> tuple[ArmPose, ...]:
        """Brake by one step and return its targets."""
        assert self._q is not None
        self._v = self._bounds.brake(self._v, dt_s)
        self._q = self._q + self._v * dt_s
        return self._poses()

    def _poses(self) -> tuple[ArmPose, ...]:
        """Return the state as targets."""
        assert self._q is not None
        joints = [self._q[part] for part in self._parts]
        each = zip(self._model.tools(self._q), joints, self._grippers, strict=True)
        return tuple(
            ArmPose(position=p, quaternion=turn, gripper=gripper, joints=q)
            for (p, turn), q, gripper in each
        )

    def _verdict(
        self, accepted: bool, targets: tuple[ArmPose, ...] | None, broken: Sequence[Broken]
    ) -> Verdict:
        reasons = tuple(dict.fromkeys(code for code, _ in broken))
        message = '' if accepted else '; '.join(dict.fromkeys(text for _, text in broken))
        return Verdict(accepted=accepted, targets=targets, reasons=reasons, message=message)


def _joints(arms: Sequence[ArmPose]) -> Array:
    """Return the joints of all arms (N,)."""
    return np.concatenate([arm.joints for arm in arms if arm.joints is not None])


def _plain(code: str) -> Broken:
    return code, MEANING[code]
