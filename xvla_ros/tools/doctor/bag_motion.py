# SPDX-License-Identifier: Apache-2.0
"""Compares the motion in a bag with the limits of an embodiment file, and proposes values."""

from collections.abc import Iterator
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import yaml

from xvla_ros.bags.bag import Bag
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import XvlaError
from xvla_ros.core.findings import Finding, metres, OK, PROBLEM, WARNING
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.workspace import workspace
from xvla_ros.data.checks.recorded_motion import joint_positions, JUMP_M_S, Recorded

Array = NDArray[np.float64]

# Margin around the recorded path in a proposed workspace [m], and on proposed speeds (share).
WORKSPACE_MARGIN_M = 0.02
SPEED_MARGIN = 0.1
# A proposed speed is exceeded by this share of the steps.
FAST_SHARE = 0.005
# A finger this share of its stroke beyond open or closed shows wrong settings of these positions.
STROKE_TOLERANCE = 0.05


class MotionCheck:
    """Compares the motion of a bag's arms with the file's limits, and collects proposals."""

    def __init__(self, bag: Bag, embodiment: Embodiment) -> None:
        """Store both."""
        self._bag, self._embodiment = bag, embodiment
        self.proposals: dict[str, Any] = {}

    def findings(self, offset_ns: int) -> Iterator[Finding]:
        """
        Yield one finding per arm and limit.

        :param offset_ns: how far the recorder's clock is ahead of the stamps'.
        """
        try:
            recorded = self._read(offset_ns)
        except XvlaError as error:
            yield Finding(level=PROBLEM, name='motion', found=str(error))
            return
        for name, arm in self._embodiment.arms.items():
            motion = recorded[name]
            if len(motion.times_s):
                yield self._workspace(name, arm, motion)
                yield from self._speeds(name, motion)
            else:
                found = 'no tool pose could be computed'
                yield Finding(level=PROBLEM, name=f'path of {name}', found=found)
            yield from self._joint_limits(name, arm, motion)
            yield from self._gripper(name, arm, motion)

    def suggestion(self) -> str:
        """Return the proposals as YAML of a parameter file; empty if there are none."""
        if not self.proposals:
            return ''
        nested: dict[str, Any] = {}
        for dotted, value in self.proposals.items():
            *parents, leaf = dotted.split('.')
            block = nested
            for parent in parents:
                block = block.setdefault(parent, {})
            block[leaf] = value
        text: str = yaml.safe_dump(nested, sort_keys=False, default_flow_style=None)
        return f'# Proposed by what was recorded in {self._bag.path}: check before use.\n{text}'

    def _read(self, offset_ns: int) -> dict[str, Recorded]:
        from xvla_ros.replay.view import measured_arms
        from xvla_ros.tools.transforms import recorded_transforms

        times, rows = measured_arms(self._bag, self._embodiment, offset_ns, recorded_transforms())
        return {
            name: Recorded(
                times_s=(times - times[0]) / NANOSECONDS if len(times) else np.empty(0),
                positions=rows[:, index, :3],
                quaternions=rows[:, index, 3:7],
                joints=joint_positions(self._bag, arm),
            )
            for index, (name, arm) in enumerate(self._embodiment.arms.items())
        }

    def _workspace(self, name: str, arm: ArmSettings, motion: Recorded) -> Finding:
        outside = ~workspace(arm).contains(motion.positions)
        low, high = motion.positions.min(axis=0), motion.positions.max(axis=0)
        title, found = f'path of {name}', f'from {metres(low)} to {metres(high)}'
        if not outside.any():
            return Finding(level=OK, name=title, found=f'{found}, inside the workspace')
        box = (
            np.minimum(low - WORKSPACE_MARGIN_M, arm.workspace_min_m),
            np.maximum(high + WORKSPACE_MARGIN_M, arm.workspace_max_m),
        )
        for key, corner in zip(('workspace_min_m', 'workspace_max_m'), box, strict=True):
            rounding = math.floor if key.endswith('min_m') else math.ceil
            proposed = [rounding(v * 100) / 100 for v in corner]
            if (np.array(proposed) != getattr(arm, key)).any():
                self.proposals[f'arms.{name}.{key}'] = proposed
        return Finding(
            level=WARNING,
            name=title,
            found=f'{found}: {outside.mean():.0%} outside the workspace, '
            f'{metres(arm.workspace_min_m)} to {metres(arm.workspace_max_m)}',
            fix='workspace_min_m, workspace_max_m, half_spaces: the gate would clamp or refuse',
        )

    def _speeds(self, name: str, motion: Recorded) -> Iterator[Finding]:
        limits = self._embodiment.limits
        linear, angular = motion.speeds()
        jumps = int(motion.jumps().sum())
        if jumps:
            found = f'{jumps} jumps faster than {JUMP_M_S:g} m/s: a new scene, or lost time?'
            yield Finding(level=WARNING, name=f'jumps of {name}', found=found)
        for key, unit, limit, speeds in (
            ('max_linear_speed_m_s', 'm/s', limits.max_linear_speed_m_s, linear),
            ('max_angular_speed_rad_s', 'rad/s', limits.max_angular_speed_rad_s, angular),
        ):
            if not len(speeds):
                continue
            found = f'p50 {np.median(speeds):.3f}, largest {speeds.max():.3f} {unit}'
            share = float((speeds > limit).mean())
            title = f'{key.split("_")[1]} speed of {name}'
            if not share:
                yield Finding(level=OK, name=title, found=f'{found}, limit {limit:g}')
                continue
            if share <= FAST_SHARE:
                found += f': {share:.1%} of the steps above the limit, {limit:g}'
                yield Finding(level=OK, name=title, found=found)
                continue
            wanted = float(np.quantile(speeds, 1 - FAST_SHARE)) * (1 + SPEED_MARGIN)
            before = self.proposals.get(f'limits.{key}', limit)
            self.proposals[f'limits.{key}'] = max(before, math.ceil(wanted * 100) / 100)
            yield Finding(
                level=WARNING,
                name=title,
                found=f'{found}: {share:.1%} of the steps above the limit, {limit:g}',
                fix=f'limits.{key}: a policy that learnt this motion would be slowed or refused',
            )

    def _joint_limits(self, name: str, arm: ArmSettings, motion: Recorded) -> Iterator[Finding]:
        if not arm.urdf or arm.urdf_topic:
            return
        from xvla_ros.control.arm_kinematics import arm_kinematics
        from xvla_ros.control.joint_limits import LIMIT_MARGIN_RAD

        kinematics = arm_kinematics(arm)
        measured = [motion.joints.get(joint, np.empty(0)) for joint in kinematics.joint_names]
        if all(map(len, measured)):
            wrong = kinematics.limits.implausible(np.array([np.median(q) for q in measured]))
            if wrong:
                yield Finding(level=PROBLEM, name=f'joints of {name}', found=wrong)
                return
        beyond = []
        for joint, low, high in zip(
            kinematics.joint_names, kinematics.lower, kinematics.upper, strict=True
        ):
            values = motion.joints.get(joint, np.empty(0))
            over = np.maximum(low - LIMIT_MARGIN_RAD - values, values - high - LIMIT_MARGIN_RAD)
            if len(over) and over.max() > 0:
                share = float((over > 0).mean())
                beyond.append(f'{joint} by up to {1e3 * over.max():.1f} mrad ({share:.0%})')
        title = f'joints of {name}'
        if beyond:
            yield Finding(
                level=WARNING,
                name=title,
                found=f'beyond the limits of the URDF: {", ".join(beyond)}',
                fix='calibrate, correct the URDF, or look at the unit: joint states are radians',
            )
        elif any(joint in motion.joints for joint in kinematics.joint_names):
            yield Finding(level=OK, name=title, found='within the limits of the URDF')

    def _gripper(self, name: str, arm: ArmSettings, motion: Recorded) -> Iterator[Finding]:
        values = motion.joints.get(arm.gripper.joint_names[0], np.empty(0))
        if not len(values):
            return
        gripper = arm.gripper
        ends = sorted((gripper.open_position, gripper.closed_position))
        slack = STROKE_TOLERANCE * (ends[1] - ends[0])
        low, high = float(values.min()), float(values.max())
        title = f'gripper of {name}'
        found = f'{low:.4f} to {high:.4f}, file: {ends[0]:g} to {ends[1]:g}'
        if ends[0] - slack <= low and high <= ends[1] + slack:
            yield Finding(level=OK, name=title, found=found)
            return
        opens_up = gripper.open_position > gripper.closed_position
        widest, narrowest = max(high, ends[1]), min(low, ends[0])
        both = (widest, narrowest) if opens_up else (narrowest, widest)
        for key, value in zip(('open_position', 'closed_position'), both, strict=True):
            self.proposals[f'arms.{name}.gripper.{key}'] = round(value, 4)
        fix = (
            'gripper.open_position, closed_position: the opening that the policy is told is wrong'
        )
        yield Finding(level=WARNING, name=title, found=found, fix=fix)
