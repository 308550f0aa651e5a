# SPDX-License-Identifier: Apache-2.0
"""
The scripted expert: from where the tools are and where the named block is, a clean plan from here on.

It keeps no memory, so it can answer from any state that a noisy episode visits, and its answer there is what a policy
should do there. The tool keeps the orientation it has at home. All in the arm's base frame; the gripper of a pose is its opening.
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.scenes import Scene

Vector = NDArray[np.float64]

# Close to its aim the tool slows down in proportion to the distance left [1/s].
SETTLE_HZ = 2.5
TURN_RAD_S = 1.0
# A tool lower than this above the block's top rises before it crosses the table.
CLEARANCE_M = 0.04
NEAR_M = 0.03
# Lifting: how well centred the tool must be to go down and to close, how fast fingers move, how high to lift.
CENTRED_M = 0.012
AT_BLOCK_M = 0.012
FINGERS_PER_S = 2.0
LIFT_M = 0.15
# An opening within this of the block's width holds it.
HOLD_MARGIN = 0.12

Aim = tuple[Vector, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmPlan:
    """One arm's plan: positions (T, 3) [m], quaternions (T, 4) xyzw, openings (T,) 0 closed to 1 open."""

    positions: Vector
    quaternions: Vector
    openings: Vector

    def poses(self) -> list[ArmPose]:
        """Return the plan as T poses."""
        steps = zip(self.positions, self.quaternions, self.openings, strict=True)
        return [ArmPose(position=p, quaternion=q, gripper=g) for p, q, g in steps]


class Expert:
    """Plans for all arms of one embodiment: the near arm goes to the named block, the other holds its home pose."""

    def __init__(self, embodiment: Embodiment) -> None:
        """:param embodiment: one that has a `sim` block."""
        assert embodiment.sim is not None
        self._names, self._sim = embodiment.arm_names, embodiment.sim
        self._homes = {name: _home(embodiment, name) for name in self._names}

    def plan(
        self,
        tools: Sequence[ArmPose],
        scene: Scene,
        block: ArrayLike,
        count: int = 30,
        period_s: float = 0.1,
        lift: bool = False,
    ) -> tuple[ArmPlan, ...]:
        """
        Return one plan per arm, the first step one period from now.

        :param tools: where each arm's tool is, in the order of `arm_names`, with its measured opening.
        :param block: (3,) where the named block's centre is now, in the base frame of the scene's arm.
        :param lift: go down, close and lift after the hover; otherwise stay in the hover.
        """
        block = np.asarray(block, dtype=np.float64)
        plans = []
        for name, tool in zip(self._names, tools, strict=True):
            aim = partial(self._stay, self._homes[name][0])
            if name == scene.arm:
                aim = partial(self._grasp, name, block) if lift else partial(self._hover, block)
            plans.append(self._roll_out(tool, self._homes[name][1], aim, count, period_s))
        return tuple(plans)

    def _stay(self, home: Vector, position: Vector, opening: float) -> Aim:
        return home, 1.0

    def _hover(self, block: Vector, position: Vector, opening: float) -> Aim:
        """Return where to head: over the block, but straight up first when low beside it."""
        above = block + (0.0, 0.0, self._sim.hover_m)
        low = position[2] < block[2] + self._sim.block_size_m / 2 + CLEARANCE_M
        if low and np.linalg.norm(position[:2] - block[:2]) > NEAR_M:
            return np.append(position[:2], above[2]), 1.0
        return above, 1.0

    def _grasp(self, name: str, block: Vector, position: Vector, opening: float) -> Aim:
        """Return where to head to pick the block up: over it, down, close, up."""
        offset = position - block
        hold = self._sim.block_size_m / self._full_width(name) + HOLD_MARGIN
        if np.linalg.norm(offset) < AT_BLOCK_M:
            lifted = opening <= hold
            return (block + (0.0, 0.0, LIFT_M), 0.0) if lifted else (block, 0.0)
        if np.linalg.norm(offset[:2]) < CENTRED_M and opening > hold:
            return block, 1.0
        return self._hover(block, position, opening)

    def _full_width(self, name: str) -> float:
        """Return how far apart the fingertips are when open [m]."""
        arm = self._sim.arms[name]
        return float(np.abs(np.subtract(arm.finger_open_m, arm.finger_closed_m)).sum())

    def _roll_out(
        self,
        tool: ArmPose,
        home: Vector,
        aim: Callable[[Vector, float], Aim],
        count: int,
        period_s: float,

    ) -> ArmPlan:
        """Follow an aim for `count` periods from a measured tool, turning it as at home on the way."""
        positions, openings = np.empty((count, 3)), np.empty(count)
        position, opening = tool.position, tool.gripper
        for i in range(count):
            goal, wish = aim(position, opening)
            position = position + _stride(goal - position, self._sim.expert_speed_m_s, period_s)
            opening += np.clip(wish - opening, -FINGERS_PER_S * period_s, FINGERS_PER_S * period_s)
            positions[i], openings[i] = position, wish
        return ArmPlan(
            positions=positions,
            quaternions=_turn(
                tool.quaternion, home, TURN_RAD_S * period_s * np.arange(1, count + 1)
            ),
            openings=openings,
        )


def _home(embodiment: Embodiment, name: str) -> tuple[Vector, Vector]:
    """Return the tool's position (3,) and quaternion (4,) when the arm is at home, in its base frame."""
    arm = embodiment.arms[name]
    kinematics = Kinematics(shared_file('resource', arm.urdf), arm.tool_frame, arm.joint_names)
    return kinematics.forward(arm.home_rad)


def _stride(way: Vector, speed_m_s: float, period_s: float) -> Vector:
    """Return one period's motion along the way left: at full speed, slowing down near the end."""
    distance = float(np.linalg.norm(way))
    share = 1 - np.exp(-SETTLE_HZ * period_s)
    return way * min(share, speed_m_s * period_s / max(distance, 1e-9))


def _turn(start: Vector, end: Vector, angles: Vector) -> Vector:
    """Return the orientations (T, 4) after turning from start towards end by each of angles (T,)."""
    begin = Rotation.from_quat(start)
    way = (begin.inv() * Rotation.from_quat(end)).as_rotvec()
    shares = np.minimum(1.0, angles / max(float(np.linalg.norm(way)), 1e-9))
    turned = (begin * Rotation.from_rotvec(shares[:, None] * way)).as_quat()
    return turned * np.where(turned @ end < 0, -1.0, 1.0)[:, None]
