# SPDX-License-Identifier: Apache-2.0
"""The half of the safety gate that checks whole chunks, in joint space."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.gripper import TRAVELS
from xvla_ros.core.joint_model import JointModel
from xvla_ros.core.joint_step_gate import Broken, SAMPLE_RAD
from xvla_ros.core.quaternions import difference
from xvla_ros.core.verdict import RULES, Verdict
from xvla_ros.core.workspace import to_world, workspace

Array = NDArray[np.float64]

# Anchors up to this far beyond a limit [rad] are moved to it, because a person presses the leader
# arm against its stops. A chunk with anchors farther out is refused.
SLACK_RAD = 0.1
# A chunk that must be slowed by more than this factor is refused.
MOST_STRETCH = 4.0


@dataclass(kw_only=True, slots=True)
class _Plan:
    """A chunk being checked: joints q (T, N) [rad], time between anchors [s], tools (T, arms)."""

    q: Array
    period_s: float
    positions: Array
    quaternions: Array
    lost: bool = False  # a tool is in a forbidden place already at the first anchor


class JointChunkGate:
    """Checks joint chunks against the limits of an embodiment. One thread at a time."""

    def __init__(self, embodiment: Embodiment, model: JointModel) -> None:
        """Read limits and workspaces."""
        self._limits, self._model, self._bounds = embodiment.limits, model, model.bounds
        self._arms, self._names = tuple(embodiment.arms.values()), embodiment.arm_names
        self._spaces = tuple(workspace(arm) for arm in self._arms)
        ends = np.cumsum([count + 1 for count in model.joint_counts])
        self._openings = ends - 1
        self._columns = np.setdiff1d(np.arange(ends[-1]), self._openings)

    def check(self, chunk: Chunk, measured: Sequence[ArmPose] | None = None) -> Verdict:
        """
        Check a chunk before it enters the queue.

        :param measured: the arms of its observation, with joints; None skips the first-step rule.
        """
        if chunk.joint_counts != self._model.joint_counts:
            text = f'joints per arm {chunk.joint_counts}, expected {self._model.joint_counts}'
            return _rejected(('arms', text))
        q = chunk.actions[:, self._columns].copy()
        if broken := self._unreadable(q, chunk.actions[:, self._openings]):
            return _rejected(broken)
        if broken := self._first_step(q, measured):
            return _rejected(broken)
        changes = self._limited(q)
        plan = self._plan(q, chunk.period_s)
        changes += self._slowed(plan) + self._placed(plan)
        if broken := self._touching(plan.q):
            return _rejected(*changes, broken)
        reasons = tuple(dict.fromkeys(code for code, _ in changes))
        message = '; '.join(dict.fromkeys(text for _, text in changes))
        stretch = plan.period_s / chunk.period_s
        refused = any(getattr(self._limits, RULES[code]) == 'reject' for code in reasons)
        if refused or plan.lost or stretch > MOST_STRETCH:
            return Verdict(accepted=False, reasons=reasons, message=message)
        return Verdict(
            accepted=True,
            chunk=self._rebuilt(chunk, plan) if reasons else chunk,
            reasons=reasons,
            message=message,
        )

    def _unreadable(self, q: Array, openings: Array) -> Broken | None:
        """Return why joints (T, N) and openings (T, arms) are no valid values; None if valid."""
        names = self._bounds.names
        if not np.isfinite(q).all():
            anchor, joint = np.argwhere(~np.isfinite(q))[0]
            text = f"joint '{names[joint]}', anchor {anchor}: a value is not finite"
            return 'non_finite', text
        for name, opening in zip(self._names, openings.T, strict=True):
            if np.isnan(opening).all():
                continue
            if not np.isfinite(opening).all():
                return 'non_finite', f'gripper of arm {name}: a value is not finite'
            if opening.min() < -TRAVELS or opening.max() > 1 + TRAVELS:
                worst = opening[np.argmax(np.abs(opening - 0.5))]
                text = f'gripper of arm {name} shall open to {worst:.3g}, expected 0 to 1'
                return 'joint_position', f'{text}: see gripper.model_closed and model_open'
        beyond = np.maximum(self._bounds.lower - q, q - self._bounds.upper)
        if beyond.max() <= SLACK_RAD:
            return None
        anchor, joint = np.unravel_index(int(np.argmax(beyond)), q.shape)
        text = (
            f"joint '{names[joint]}' shall go to {q[anchor, joint]:.3f} rad, limits "
            f'{self._bounds.lower[joint]:.3f} and {self._bounds.upper[joint]:.3f}'
        )
        units = self._model.units(q[anchor])
        return 'joint_position', f'{text}; all would be inside as {units}' if units else text

    def _first_step(self, q: Array, measured: Sequence[ArmPose] | None) -> Broken | None:
        """Return which joint's first anchor is too far from its measured position, if any."""
        if measured is None:
            return None
        joints = [arm.joints for arm in measured]
        if any(each is None for each in joints):
            return 'joints', 'the joints of an arm are not measured'
        here = np.concatenate([each for each in joints if each is not None])
        off, most = np.abs(q[0] - here), self._limits.max_first_step_joint_rad
        if off.max() <= most or self._limits.on_first_step != 'reject':
            return None
        worst = int(np.argmax(off))
        text = (
            f"joint '{self._bounds.names[worst]}': the chunk begins at {q[0, worst]:.3f} rad, "
            f'measured is {here[worst]:.3f}, limit {most} rad apart'
        )
        return 'first_step', text

    def _limited(self, q: Array) -> list[Broken]:
        """Move joints (T, N) a little beyond their limits back in place; return which."""
        inside = np.clip(q, self._bounds.lower, self._bounds.upper)
        off = np.abs(q - inside).max(axis=0)
        q[:] = inside
        worst = int(np.argmax(off))
        if off[worst] <= 1e-9:
            return []
        text = f"joint '{self._bounds.names[worst]}' is {off[worst]:.3f} rad beyond its limit"
        return [('joint_position', text)]

    def _plan(self, q: Array, period_s: float) -> _Plan:
        tools = [self._model.tools(row) for row in q]
        return _Plan(
            q=q,
            period_s=period_s,
            positions=np.array([[position for position, _ in arms] for arms in tools]),
            quaternions=np.array([[turn for _, turn in arms] for arms in tools]),
        )

    def _placed(self, plan: _Plan) -> list[Broken]:
        """Cut the plan before a tool leaves its workspace or the tools come too close."""
        broken: list[Broken] = []
        wrong = np.zeros(len(plan.q), bool)
        for index, (name, space) in enumerate(zip(self._names, self._spaces, strict=True)):
            outside = ~space.contains(plan.positions[:, index])
            if outside.any():
                text = f'arm {name}: {outside.sum()} of {len(outside)} anchors are outside'
                broken.append(('workspace', text + ' the workspace'))
            wrong |= outside
        least = self._limits.min_arm_distance_m
        if len(self._names) == 2 and least > 0:
            one, other = (to_world(a, plan.positions[:, i]) for i, a in enumerate(self._arms))
            apart = np.linalg.norm(one - other, axis=1)
            if (apart < least).any():
                text = f'the tools come within {apart.min():.3f} m, limit {least}'
                broken.append(('arm_distance', text))
            wrong |= apart < least
        if wrong.any():
            plan.lost = bool(wrong[0])
            last = max(int(np.argmax(wrong)) - 1, 0)
            for values in (plan.q, plan.positions, plan.quaternions):
                values[last + 1 :] = values[last]
        return broken

    def _slowed(self, plan: _Plan) -> list[Broken]:
        """Slow the plan down until every joint and tool keeps its limits; return the reasons."""
        broken: list[Broken] = []
        bounds, steps = self._bounds, np.diff(plan.q, axis=0) / plan.period_s
        if not len(steps):
            return broken
        fastest = np.array([bounds.fastest(q, v) for q, v in zip(plan.q[1:], steps, strict=True)])
        shares = (np.abs(steps) / np.maximum(fastest, 1e-3)).max(axis=0)
        changes = np.abs(np.diff(steps, axis=0)).max(axis=0, initial=0.0) / plan.period_s
        for code, share, values, limit in (
            ('joint_speed', shares, np.abs(steps).max(axis=0), bounds.speed),
            ('joint_acceleration', np.sqrt(changes / bounds.acceleration), changes, None),
        ):
            joint = int(np.argmax(share))
            if share[joint] > 1 + 1e-9:
                most = bounds.acceleration if limit is None else limit
                unit = 'rad/s^2' if limit is None else 'rad/s'
                text = f"joint '{bounds.names[joint]}': {values[joint]:.2f} {unit}, limit "
                broken.append((code, f'{text}{most[joint]:g}'))
        tool, slower = self._tool_stretch(plan)
        most_change = float(np.sqrt(changes / bounds.acceleration).max())
        plan.period_s *= max(1.0, float(shares.max()), min(most_change, MOST_STRETCH), tool)
        return broken + slower

    def _tool_stretch(self, plan: _Plan) -> tuple[float, list[Broken]]:
        """Return the factor by which the tools are too fast, and the broken rules."""
        limits, stretch = self._limits, 1.0
        broken: list[Broken] = []
        for index, name in enumerate(self._names):
            ways = np.linalg.norm(np.diff(plan.positions[:, index], axis=0), axis=1)
            pairs = zip(plan.quaternions[:-1, index], plan.quaternions[1:, index], strict=True)
            turns = [math.hypot(*difference(tuple(a), tuple(b))) for a, b in pairs]
            for code, step, unit, most in (
                ('linear_speed', ways.max(), 'm/s', limits.max_linear_speed_m_s),
                ('angular_speed', max(turns), 'rad/s', limits.max_angular_speed_rad_s),
            ):
                speed = float(step) / plan.period_s
                stretch = max(stretch, speed / most)
                if speed > most * (1 + 1e-9):
                    broken.append((code, f'arm {name}: {speed:.2f} {unit}, limit {most}'))
        return stretch, broken

    def _touching(self, q: Array) -> Broken | None:
        """Return which links collide along a plan (T, N); None for none."""
        for index, row in enumerate(q):
            before = q[index - 1] if index else row
            if index and np.array_equal(before, row):
                continue
            count = max(1, math.ceil(float(np.abs(row - before).max()) / SAMPLE_RAD))
            for step in range(1, count + 1):
                if links := self._model.collision(before + (row - before) * step / count):
                    return 'collision', f'{links} at anchor {index}'
        return None

    def _rebuilt(self, chunk: Chunk, plan: _Plan) -> Chunk:
        actions = chunk.actions.copy()
        actions[:, self._columns] = plan.q
        return replace(chunk, actions=actions, period_s=plan.period_s)


def _rejected(*broken: Broken) -> Verdict:
    reasons = tuple(dict.fromkeys(code for code, _ in broken))
    return Verdict(accepted=False, reasons=reasons, message='; '.join(t for _, t in broken))
