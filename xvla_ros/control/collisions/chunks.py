# SPDX-License-Identifier: Apache-2.0
"""Collision checks of whole chunks of tool poses, along the joints that will follow them."""

from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.control.collisions.shapes import Collisions
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, pack, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_step_gate import SAMPLE_RAD
from xvla_ros.core.rotations import rotate6d_to_matrix

Array = NDArray[np.float64]

# Joints are computed for anchors at most this far apart, or for neighbours. Between them joints
# go straight, which bends the path of a tool by about a millimetre: half the square of half the
# distance over the arm's reach. That is small against the clearance of 5 mm.
APART_M, APART_RAD = 0.05, 0.2


class ChunkCollisions:
    """
    Follows chunks by inverse kinematics from the measured joints, and looks for links that touch.

    One thread at a time. The drivers follow the same poses from the same joints, but step by step;
    so each step is checked again (`StepCollisions`).
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Read URDFs and shapes.

        :raises ConfigError: a file is missing or does not fit.
        """
        self._layout = embodiment.policy.rotation_6d_layout
        self._kinematics = tuple(arm_kinematics(arm) for arm in embodiment.arms.values())
        self._shapes = Collisions(embodiment)

    def touching(self, chunk: Chunk, measured: Sequence[ArmPose]) -> str:
        """
        Return which links would collide along a chunk, and at which anchor; empty for none.

        The check ends at the first anchor that an arm does not reach from the anchors before.

        :param measured: of its observation; without joints nothing is checked.
        """
        here = [arm.joints for arm in measured if arm.joints is not None]
        if len(here) != len(self._kinematics):
            return ''
        start = pack(measured, self._layout)[None]
        halves = np.vstack([start, chunk.actions]).reshape(-1, 2, ARM_SIZE)
        rows, before = halves[:, : len(here)], np.concatenate(here)
        for index in _marks(rows):
            found = self._follow(here, rows[index])
            if found is None:
                return ''
            here, after = found, np.concatenate(found)
            count = max(1, math.ceil(float(np.abs(after - before).max()) / SAMPLE_RAD))
            for step in range(1, count + 1):
                if links := self._shapes.touching(before + (after - before) * step / count):
                    return f'{links} at anchor {index - 1}'
            before = after
        return ''

    def _follow(self, here: Sequence[Array], anchor: Array) -> list[Array] | None:
        """Return the joints of all arms at an anchor (A, 10), None if one does not get there."""
        rotations = rotate6d_to_matrix(anchor[:, ROTATION], self._layout)
        each = zip(self._kinematics, here, anchor[:, POSITION], rotations, strict=True)
        found = [k.follow(q, position, rotation) for k, q, position, rotation in each]
        joints = [q for q in found if q is not None]
        return joints if len(joints) == len(found) else None


def _marks(rows: Array) -> list[int]:
    """Return which of (T, A, 10) to look at after the first one: the last, and enough between."""
    steps = np.diff(rows, axis=0)
    # A turn by x changes its six numbers by at least 2 sin(x / 2).
    sizes = np.maximum(
        np.linalg.norm(steps[..., POSITION], axis=2) / APART_M,
        np.linalg.norm(steps[..., ROTATION], axis=2) / APART_RAD,
    ).max(axis=1)
    ways, marks = np.concatenate([[0.0], np.cumsum(sizes)]), [0]
    while marks[-1] < len(rows) - 1:
        farthest = int(np.searchsorted(ways, ways[marks[-1]] + 1.0, 'right')) - 1
        marks.append(max(farthest, marks[-1] + 1))
    return marks[1:]
