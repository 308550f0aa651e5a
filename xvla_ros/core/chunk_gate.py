# SPDX-License-Identifier: Apache-2.0
"""The half of the safety gate that checks whole chunks, before any step is executed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.frames import frame_offset
from xvla_ros.core.motion import clip_norm
from xvla_ros.core.rotations import (
    matrix_to_rotate6d,
    rotate6d_residual,
    rotate6d_to_matrix,
    ROTATION_LAYOUTS,
)
from xvla_ros.core.verdict import MEANING, RULES, Verdict
from xvla_ros.core.workspace import to_world, workspace

Array = NDArray[np.float64]

# A chunk is refused as one in the other layout when it fits that layout BETTER times better and
# its own residual is above DOUBTFUL. This may be below the limit, because the mean hides one
# wrong rotation in ten.
BETTER = 4.0
DOUBTFUL = 0.1


@dataclass(kw_only=True, slots=True)
class _Anchors:
    """One arm's anchors being checked: positions (T, 3) [m, base frame], T rotations."""

    positions: Array
    rotations: Rotation


class ChunkGate:
    """Checks chunks against the limits of an embodiment. Stateless."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Read limits, layout and workspaces."""
        self._limits = embodiment.limits
        self._layout = embodiment.policy.rotation_6d_layout
        self._arms = tuple(embodiment.arms.values())
        self._names = embodiment.arm_names
        self._spaces = tuple(workspace(arm) for arm in self._arms)
        self._to_policy = tuple(frame_offset(arm).inverse() for arm in self._arms)

    def check(self, chunk: Chunk, measured: Sequence[ArmPose] | None = None) -> Verdict:
        """
        Check a chunk before it enters the queue.

        :param measured: arm poses of its observation; None skips the first-step rule.
        """
        rows = chunk.actions.reshape(len(chunk.actions), 2, ARM_SIZE)
        halves: Array = np.swapaxes(rows, 0, 1)[: len(self._arms)]  # (A, T, 10)
        unreadable = self._unreadable(halves)
        if unreadable is not None:
            return unreadable
        arms = [
            _Anchors(
                positions=half[:, POSITION].copy(),
                rotations=Rotation.from_matrix(
                    rotate6d_to_matrix(half[:, ROTATION], self._layout)
                ),
            )
            for half in halves
        ]
        broken = self._first_step(arms, measured)
        broken += self._contain(arms)
        broken += self._slow(arms, chunk.period_s)
        distant = self._separate(arms)
        reasons = tuple(dict.fromkeys(code for code, _ in broken + distant))
        message = '; '.join(dict.fromkeys(text for _, text in broken + distant))
        if any(getattr(self._limits, RULES[reason]) == 'reject' for reason in reasons):
            return Verdict(accepted=False, reasons=reasons, message=message)
        changed = bool(set(reasons) - {'first_step'})
        passed = self._rebuilt(chunk, arms) if changed else chunk
        return Verdict(accepted=True, chunk=passed, reasons=reasons, message=message)

    def _unreadable(self, halves: Array) -> Verdict | None:
        """Return the refusal of raw actions (A, T, 10) that are no poses; None if they are."""
        if not np.isfinite(halves).all():
            arm, anchor = np.argwhere(~np.isfinite(halves))[0][:2]
            text = f'arm {self._names[arm]}, anchor {anchor}: {MEANING["non_finite"]}'
            return _rejected('non_finite', text)
        limit = self._limits.max_rotation_residual
        residuals = rotate6d_residual(halves[..., ROTATION], self._layout)  # (A, T)
        worst = float(residuals.max())
        other, other_worst = self._other_layout(halves)
        fits_other = other_worst <= limit and worst > max(BETTER * other_worst, DOUBTFUL)
        if worst <= limit and not fits_other:
            return None
        name = self._names[int(np.argmax(residuals.max(axis=1)))]
        text = f'arm {name}: Rotate6D residual {worst:.2f} as {self._layout!r}, limit {limit}; '
        if fits_other:
            text += f'it fits {other!r} ({other_worst:.2f}): set policy.rotation_6d_layout'
            return _rejected('rotation_layout', text)
        text += 'it fits no layout'
        return _rejected('rotation_invalid', text)

    def _other_layout(self, halves: Array) -> tuple[str, float]:
        """Return the layout that is not configured, and the residual of the rotations in it."""
        other = next(layout for layout in ROTATION_LAYOUTS if layout != self._layout)
        raw = (
            to_policy.apply_raw(half, self._layout)[:, ROTATION]
            for half, to_policy in zip(halves, self._to_policy, strict=True)
        )
        return other, max(float(rotate6d_residual(values, other).max()) for values in raw)

    def _first_step(
        self, arms: list[_Anchors], measured: Sequence[ArmPose] | None
    ) -> list[tuple[str, str]]:
        """Return which arms' first anchors are too far from the measured tools."""
        broken = []
        for name, arm, pose in zip(self._names, arms, measured or (), strict=measured is not None):
            step_m = float(np.linalg.norm(arm.positions[0] - pose.position))
            turn = arm.rotations[0] * Rotation.from_quat(pose.quaternion).inv()
            step_rad = float(turn.magnitude())
            limits = self._limits
            if step_m > limits.max_first_step_m or step_rad > limits.max_first_step_rad:
                text = (
                    f'arm {name}: the chunk begins {step_m:.3f} m and {step_rad:.2f} rad from '
                    f'the measured tool, limits {limits.max_first_step_m} m and '
                    f'{limits.max_first_step_rad} rad'
                )
                broken.append(('first_step', text))
        return broken

    def _contain(self, arms: list[_Anchors]) -> list[tuple[str, str]]:
        """Move anchors into the workspaces and return the broken rules."""
        broken = []
        for name, arm, space in zip(self._names, arms, self._spaces, strict=True):
            outside = np.flatnonzero(~space.contains(arm.positions))
            for index in outside:
                arm.positions[index] = space.nearest(arm.positions[index])
            if len(outside):
                text = f'arm {name}: {len(outside)} of {len(arm.positions)} anchors are outside'
                broken.append(('workspace', text + ' the workspace'))
        return broken

    def _slow(self, arms: list[_Anchors], period_s: float) -> list[tuple[str, str]]:
        """Shorten steps between anchors to the speed limits and return the broken rules."""
        broken = []
        limits = self._limits
        for name, arm in zip(self._names, arms, strict=True):
            step_m = limits.max_linear_speed_m_s * period_s
            steps = np.linalg.norm(np.diff(arm.positions, axis=0), axis=1)
            if np.any(steps > step_m * (1 + 1e-9)):
                speed = steps.max() / period_s
                text = f'arm {name}: {speed:.2f} m/s, limit {limits.max_linear_speed_m_s}'
                broken.append(('linear_speed', text))
                for i in range(1, len(arm.positions)):
                    step = arm.positions[i] - arm.positions[i - 1]
                    arm.positions[i] = arm.positions[i - 1] + clip_norm(step, step_m)
            turn_rad = limits.max_angular_speed_rad_s * period_s
            turns = np.zeros(0)
            if len(arm.positions) > 1:  # scipy 1.11, Ubuntu 24.04's, cannot multiply no rotations
                turns = (arm.rotations[1:] * arm.rotations[:-1].inv()).magnitude()
            if np.any(turns > turn_rad * (1 + 1e-9)):
                speed = turns.max() / period_s
                text = f'arm {name}: {speed:.2f} rad/s, limit {limits.max_angular_speed_rad_s}'
                broken.append(('angular_speed', text))
                arm.rotations = _slower(arm.rotations, turn_rad)
        return broken

    def _separate(self, arms: list[_Anchors]) -> list[tuple[str, str]]:
        """Stop both arms before they come too close and return the broken rules."""
        least = self._limits.min_arm_distance_m
        if len(arms) < 2 or least <= 0:
            return []
        left, right = (to_world(s, a.positions) for s, a in zip(self._arms, arms, strict=True))
        distances = np.linalg.norm(left - right, axis=1)
        if np.all(distances >= least):
            return []
        text = f'the tools come within {distances.min():.3f} m, limit {least}'
        last = max(int(np.argmax(distances < least)) - 1, 0)
        for arm in arms:
            arm.positions[last + 1 :] = arm.positions[last]
        return [('arm_distance', text)]

    def _rebuilt(self, chunk: Chunk, arms: list[_Anchors]) -> Chunk:
        """Return the chunk with changed anchors."""
        actions = chunk.actions.copy()
        for index, arm in enumerate(arms):
            half = actions[:, ARM_SIZE * index : ARM_SIZE * (index + 1)]
            half[:, POSITION] = arm.positions
            half[:, ROTATION] = matrix_to_rotate6d(arm.rotations.as_matrix(), self._layout)
        return replace(chunk, actions=actions)


def _slower(rotations: Rotation, turn_rad: float) -> Rotation:
    """Return rotations whose steps are shortened to at most `turn_rad`."""
    slowed = [rotations[0]]
    for rotation in rotations[1:]:
        turn = (rotation * slowed[-1].inv()).as_rotvec()
        slowed.append(Rotation.from_rotvec(clip_norm(turn, turn_rad)) * slowed[-1])
    return Rotation.concatenate(slowed)


def _rejected(code: str, message: str) -> Verdict:
    return Verdict(accepted=False, reasons=(code,), message=message)
