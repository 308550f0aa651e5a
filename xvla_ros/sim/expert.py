# SPDX-License-Identifier: Apache-2.0
"""
The scripted expert: plans a motion to the named block from the current tool and block positions.

It keeps no state between calls. It can therefore plan from any state that an episode reaches, and
its plans are the training data of the demo policy. The tool keeps its orientation at home. All
poses are in the arm's base frame; the gripper of a pose is its opening.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.scenes import Scene

Vector = NDArray[np.float64]

# The constants below are chosen for the blocks and arms of this simulation.
# Near its aim the tool slows down: speed = SETTLE_HZ * remaining distance.
SETTLE_HZ = 2.5
TURN_RAD_S = 1.0
# A tool less than CLEARANCE_M above the block's top, and more than NEAR_M beside the block, rises
# before it crosses the table.
CLEARANCE_M = 0.04
NEAR_M = 0.03
# Grasping: the gripper closes when the tool is this near to the block's centre, horizontally and
# vertically. LIFT_M is how high the block is lifted.
CENTRED_M = 0.012
AT_BLOCK_M = 0.012
LIFT_M = 0.15
# The block counts as held when the opening is between SQUEEZED below and TOUCHING above the one at
# which the fingers touch it. With more above it the arm would rise before the fingers have closed.
SQUEEZED, TOUCHING = 0.2, 0.03
# Speed at which a plan has the opening change [1/s], half of what the grippers reach. A plan is
# executed up to 0.3 s after the look that it is made from, and the arm must not rise too early.
FINGERS_PER_S = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """
    The next goal of a tool.

    position: (3,) [m] in the base frame. opening: 0 closed to 1 open. carries: the gripper holds
    the block, so the block moves with the tool.
    """

    position: Vector
    opening: float
    carries: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmPlan:
    """
    One arm's plan, in its base frame.

    positions: (T, 3) [m] of the tool. quaternions: (T, 4) xyzw of the tool. openings: (T,), 0
    closed to 1 open.
    """

    positions: Vector
    quaternions: Vector
    openings: Vector

    def poses(self) -> list[ArmPose]:
        """Return the plan as T poses."""
        steps = zip(self.positions, self.quaternions, self.openings, strict=True)
        return [ArmPose(position=p, quaternion=q, gripper=g) for p, q, g in steps]


class Expert:
    """Plans for all arms: one with a block of the scene's goes to it, another stays at home."""

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
        also: Mapping[str, ArrayLike] | None = None,
    ) -> tuple[ArmPlan, ...]:
        """
        Return one plan per arm, in the order of `arm_names`; the first step is due in one period.

        :param tools: each arm's measured tool pose and opening, in the order of `arm_names`.
        :param block: (3,) [m] the named block's centre now, in the base frame of the scene's arm.
        :param count: steps of the plan. :param period_s: time between them [s].
        :param lift: after hovering over the block go down, close the gripper and lift the block.
            Otherwise the tool stays above the block.
        :param also: block (3,) [m] of another arm, in its base frame, by the arm's name.
        """
        blocks = {scene.arm: block, **(also or {})}
        plans = []
        for name, tool in zip(self._names, tools, strict=True):
            home, upright = self._homes[name]
            place = np.asarray(blocks.get(name, home), np.float64)
            aim: Callable[..., Aim] = partial(_stay, home)
            if name in blocks:
                aim = partial(self._grasp, name) if lift else self._reach
            positions, openings = self._roll_out(tool, place, aim, count, period_s)
            turns = TURN_RAD_S * period_s * np.arange(1, count + 1, dtype=np.float64)
            quaternions = _turn(tool.quaternion, upright, turns)
            plans.append(ArmPlan(positions=positions, quaternions=quaternions, openings=openings))
        return tuple(plans)

    def _reach(self, block: Vector, position: Vector, opening: float) -> Aim:
        return Aim(self._hover(block, position), 1.0)

    def _hover(self, block: Vector, position: Vector) -> Vector:
        """Return the point above the block; for a low tool beside the block the point above it."""
        above: Vector = block + np.array([0.0, 0.0, self._sim.hover_m])
        low = position[2] < block[2] + self._sim.block_size_m / 2 + CLEARANCE_M
        if low and np.linalg.norm(position[:2] - block[:2]) > NEAR_M:
            return np.append(position[:2], above[2])
        return above

    def _grasp(self, name: str, block: Vector, position: Vector, opening: float) -> Aim:
        """Return the next goal of picking the block up: over it, down, close, up."""
        width = self._width(name)
        offset = np.abs(position - block)
        around = np.linalg.norm(offset[:2]) < CENTRED_M and offset[2] < AT_BLOCK_M
        if around and -SQUEEZED < opening - width < TOUCHING:
            return Aim(np.append(position[:2], self._lifted_m(name)), 0.0, carries=True)
        if around:
            return Aim(block, 0.0 if opening > width else 1.0)
        centred = np.linalg.norm(offset[:2]) < CENTRED_M and opening > width
        return Aim(block if centred else self._hover(block, position), 1.0)

    def _width(self, name: str) -> float:
        """Return the opening at which the fingers touch a block."""
        arm = self._sim.arms[name]
        travel = float(np.abs(np.subtract(arm.finger_open_m, arm.finger_closed_m)).sum())
        return 1 - ((arm.gap_open_m or travel) - self._sim.block_size_m) / travel

    def _lifted_m(self, name: str) -> float:
        """Return the height of a lifted block's centre in the base frame [m]."""
        return self._sim.block_size_m / 2 - self._sim.arms[name].base_position_m[2] + LIFT_M

    def _roll_out(
        self, tool: ArmPose, block: Vector, aim: Callable[..., Aim], count: int, period_s: float
    ) -> tuple[Vector, Vector]:
        """Return the positions (count, 3) and openings (count,) of a tool that follows an aim."""
        positions, openings = np.empty((count, 3)), np.empty(count)
        position, opening = tool.position, tool.gripper
        for i in range(count):
            goal = aim(block, position, opening)
            step = _stride(goal.position - position, self._sim.expert_speed_m_s, period_s)
            position = position + step
            if goal.carries:
                block = block + step
            else:
                span = FINGERS_PER_S * period_s
                opening += float(np.clip(goal.opening - opening, -span, span))
            positions[i], openings[i] = position, goal.opening
        return positions, openings


def _stay(home: Vector, block: Vector, position: Vector, opening: float) -> Aim:
    return Aim(home, 1.0)


def _home(embodiment: Embodiment, name: str) -> tuple[Vector, Vector]:
    """Return the tool's position (3,) and quaternion (4,) at home, in the base frame."""
    arm = embodiment.arms[name]
    kinematics = Kinematics(shared_file('resource', arm.urdf), arm.tool_frame, arm.joint_names)
    return kinematics.forward(arm.home_rad)


def _stride(way: Vector, speed_m_s: float, period_s: float) -> Vector:
    """Return one period's motion (3,) along the remaining way, slower near its end."""
    distance = float(np.linalg.norm(way))
    share = 1 - np.exp(-SETTLE_HZ * period_s)
    stride: Vector = way * min(share, speed_m_s * period_s / max(distance, 1e-9))
    return stride


def _turn(start: Vector, end: Vector, angles: Vector) -> Vector:
    """Return orientations (T, 4) on the geodesic from start to end, after angles (T,) [rad]."""
    begin = Rotation.from_quat(start)
    way = (begin.inv() * Rotation.from_quat(end)).as_rotvec()
    shares = np.minimum(1.0, angles / max(float(np.linalg.norm(way)), 1e-9))
    turned = (begin * Rotation.from_rotvec(shares[:, None] * way)).as_quat()
    same_side: Vector = turned * np.where(turned @ end < 0, -1.0, 1.0)[:, None]
    return same_side
