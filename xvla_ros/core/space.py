# SPDX-License-Identifier: Apache-2.0
"""
The space of plans: tool poses (EE6D) or joints.

A plan is a curve of states, one tuple of floats per arm. Queue, strategies and runtime work with
states; the space defines what a state is and how two are mixed. A target is an ArmPose in either
space: in joint space it has the joints and their pose.
"""

from collections.abc import Callable, Sequence
import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.interpolation import (
    arm_to_pose,
    ArmCurve,
    JointSpline,
    Mix,
    mix_poses,
    pose_to_arm,
    State,
    Trajectory,
)

# Joints of one arm (n,) [rad] -> tool position (3,) [m], quaternion (4,) xyzw, base frame.
Forward = Callable[[ArrayLike], tuple[NDArray[np.float64], NDArray[np.float64]]]


class Space(Protocol):
    """Converts between chunks, states and ArmPoses. One thread at a time."""

    joint_counts: tuple[int, ...]

    @property
    def mix(self) -> Mix:
        """Returns the state a fraction from one to another."""

    def trajectory(self, chunk: Chunk) -> Trajectory:
        """
        Return a chunk as a curve of states.

        :raises ValueError: its values are no valid states.
        """

    def state(self, arm: ArmPose) -> State:
        """Return one arm's measured or commanded state."""

    def start(self, arm: ArmPose) -> State:
        """Return the state that a ramp to a plan begins with."""

    def arms(self, states: Sequence[State]) -> tuple[ArmPose, ...]:
        """Return the states of all arms as targets."""

    def rows(self, states: Sequence[Sequence[State]]) -> NDArray[np.float64]:
        """Return states, over time and arms, as the actions of a chunk."""


def states_of(space: Space, chunk: Chunk) -> list[tuple[State, ...]]:
    """
    Return the states of all arms at each anchor of a chunk.

    :raises ValueError: its values are no valid states.
    """
    curve = space.trajectory(chunk)
    return [curve.at(chunk.due_ns(index)) for index in range(len(chunk.actions))]


class PoseSpace:
    """Tool poses: x, y, z [m], qx, qy, qz, qw, and the model's gripper value."""

    joint_counts: tuple[int, ...] = ()
    mix = staticmethod(mix_poses)

    def __init__(self, layout: str, arms: int | None = None) -> None:
        """Set the chunks' Rotate6D layout and number of arms (None: as in each chunk)."""
        self._layout, self._arms = layout, arms

    def trajectory(self, chunk: Chunk) -> Trajectory:
        """Return a chunk as a curve of poses."""
        return Trajectory(chunk, self._layout, self._arms)

    def state(self, arm: ArmPose) -> State:
        """Return one arm's pose."""
        return arm_to_pose(arm)

    def start(self, arm: ArmPose) -> State:
        """Return the pose without a gripper value: a measured opening is no probability."""
        return (*arm_to_pose(arm)[:7], math.nan)

    def arms(self, states: Sequence[State]) -> tuple[ArmPose, ...]:
        """Return the poses."""
        return tuple(pose_to_arm(state) for state in states)

    def rows(self, states: Sequence[Sequence[State]]) -> NDArray[np.float64]:
        """Return the actions (T, 20)."""
        return np.stack([pack(self.arms(arms), self._layout) for arms in states])


def mix_joints(a: State, b: State, u: float) -> State:
    """Return the state a fraction `u` from `a` to `b`; if one opening is NaN, use the other."""
    v = 1 - u
    opening = a[-1] if math.isnan(b[-1]) else b[-1] if math.isnan(a[-1]) else v * a[-1] + u * b[-1]
    return (*(v * x + u * y for x, y in zip(a[:-1], b[:-1], strict=True)), opening)


class JointSpace:
    """Joints: q1 to qn [rad] of an arm and the opening of its gripper (NaN: no command)."""

    mix = staticmethod(mix_joints)

    def __init__(self, forward: Sequence[Forward], joint_counts: tuple[int, ...]) -> None:
        """Set each arm's forward kinematics and number of joints."""
        self._forward, self.joint_counts = tuple(forward), joint_counts

    def trajectory(self, chunk: Chunk) -> Trajectory:
        """Return a chunk as a curve of joints."""
        if chunk.joint_counts != self.joint_counts:
            raise ValueError(f'joints per arm are {chunk.joint_counts}, not {self.joint_counts}')
        curves: list[ArmCurve] = []
        begin = 0
        for count in self.joint_counts:
            curves.append(JointSpline(chunk.actions[:, begin : begin + count + 1]))
            begin += count + 1
        return Trajectory(chunk, curves=curves)

    def state(self, arm: ArmPose) -> State:
        """
        Return one arm's joints and opening.

        :raises ValueError: its joints are not known.
        """
        if arm.joints is None:
            raise ValueError('the joints of an arm are not known')
        return (*arm.joints.tolist(), arm.gripper)

    start = state

    def arms(self, states: Sequence[State]) -> tuple[ArmPose, ...]:
        """Return the joints with their poses."""
        return tuple(
            self._arm(forward, state) for forward, state in zip(self._forward, states, strict=True)
        )

    @staticmethod
    def _arm(forward: Forward, state: State) -> ArmPose:
        joints = np.array(state[:-1])
        position, quaternion = forward(joints)
        return ArmPose(position=position, quaternion=quaternion, gripper=state[-1], joints=joints)

    def rows(self, states: Sequence[Sequence[State]]) -> NDArray[np.float64]:
        """Return the actions (T, sum of n + 1)."""
        return np.array([[value for state in arms for value in state] for arms in states])
