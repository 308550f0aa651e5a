# SPDX-License-Identifier: Apache-2.0
"""
One arm's kinematics from its URDF: forward, Jacobian, and inverse without joint jumps.

Position comes first for an arm of fewer than six joints, which cannot take every rotation.

Poses are of the tool frame in the root link of the URDF, or in another fixed link: position (3,)
in metres, quaternion (x, y, z, w). Joints that are not listed, such as fingers, stay at neutral.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
import pinocchio as pin

from xvla_ros.control.inverse.seeds import SeedTable
from xvla_ros.control.inverse.solver import IkResult, PoseSolver, taken
from xvla_ros.control.urdf import read_chain
from xvla_ros.core.errors import ConfigError

Vector = NDArray[np.float64]

WARM_ITERATIONS = 30
TRACK_ITERATIONS = 4
# `follow`: largest error [m and rad together], small against the 5 mm that links keep apart. It
# takes two or three steps per 5 cm; near a singularity it takes more, and ends there.
CLOSE = 2e-3
FOLLOW_ITERATIONS = 8
FOLLOW_DAMPING = 1e-6 * np.eye(6)


class Kinematics:
    """One arm: joints in the order of `joint_names`, tool poses in its base link."""

    def __init__(
        self,
        urdf: str | Path,
        tool_frame: str,
        joint_names: Sequence[str],
        posture: ArrayLike | None = None,
        base_frame: str = '',
        *,
        forward_only: bool = False,
    ) -> None:
        """
        Read the arm's chain.

        :param urdf: path of a URDF file, or its XML text (as in robot_description).
        :param posture: joints (n,) [rad] that redundant joints are pulled to; None: mid-range.
        :param base_frame: link that poses are relative to; empty: the root link.
        :param forward_only: accept limits that allow no motion, because only `forward` is used.
        :raises ConfigError: the file, a frame or a joint is missing, joints are out of order, or
            the limits of a joint allow no motion.
        """
        source, self._model, self.limits = read_chain(urdf, tuple(joint_names), base_frame)
        if not forward_only and (reason := self.limits.unusable()):
            raise ConfigError(f'{source}: {reason}')
        self._data = self._model.createData()
        if not self._model.existFrame(tool_frame):
            names = ', '.join(f.name for f in self._model.frames)
            raise ConfigError(f"{source}: no link '{tool_frame}' for the tool; it has: {names}")
        self._frame = self._model.getFrameId(tool_frame)
        self.joint_names = tuple(joint_names)
        self.lower, self.upper = self.limits.lower, self.limits.upper
        self.velocity_limit = self.limits.velocity
        self.posture = self._check(self.limits.middle if posture is None else posture, 'posture')
        self._solver = PoseSolver(self._model, self._data, self._frame, self.limits, self.posture)

    @property
    def position_first(self) -> bool:
        """Whether the tool goes to its position first, because rotations are out of reach."""
        return self._solver.position_first

    def forward(self, q: ArrayLike) -> tuple[Vector, Vector]:
        """Return the tool's position (3,) [m] and quaternion (4,) xyzw for joints q (n,) [rad]."""
        vector = pin.SE3ToXYZQUAT(self._solver.placement(self._check(q, 'q')))
        return vector[:3], vector[3:]

    def jacobian(self, q: ArrayLike) -> Vector:
        """Return the tool's Jacobian (6, n), linear rows first, in the base link's axes."""
        q = self._check(q, 'q')
        pin.computeJointJacobians(self._model, self._data, q)
        rows: Vector = pin.getFrameJacobian(
            self._model, self._data, self._frame, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        return rows

    def inverse(
        self,
        position: ArrayLike,
        quaternion: ArrayLike,
        seed: ArrayLike,
        restarts: int = 40,
    ) -> IkResult:
        """
        Return joints for a tool pose. The search starts at the seed, then at stored postures.

        It ends at the first that takes the pose, also where position comes first: there the
        smallest error of the rotation is the best of all.

        :param position: (3,) metres.
        :param quaternion: (4,) xyzw.
        :param seed: (n,) radians.
        :param restarts: how many stored postures to try; 0 searches from the seed only.
        """
        target = _pose(position, quaternion)
        seed, box = self._check(seed, 'seed'), self.limits.box
        best = self._solver.solve(target, seed, box, WARM_ITERATIONS)
        if taken(best) or restarts == 0:
            return best
        for start in self._seeds.nearest(target.translation, target.rotation, restarts):
            start = self.limits.nearest_turn(start, seed)
            found = self._solver.solve(target, start, box, WARM_ITERATIONS)
            if self._solver.cost(found) < self._solver.cost(best):
                best = found
            if taken(best):
                break
        return best

    def track(
        self, q: ArrayLike, position: ArrayLike, quaternion: ArrayLike, dt_s: float
    ) -> IkResult:
        """
        Return the joints one control period after q on the way to a tool pose, within all limits.

        The search starts from q, so the arm does not jump to another posture. When the target
        cannot be reached, the result is the nearest pose found, with a reason. A joint of q that
        is beyond its limit stays there or comes back within its speed.
        """
        q = self._check(q, 'q')
        box = self.limits.step(q, dt_s)
        return self._solver.solve(_pose(position, quaternion), q, box, TRACK_ITERATIONS)

    def follow(self, q: ArrayLike, position: ArrayLike, rotation: ArrayLike) -> Vector | None:
        """
        Return joints (n,) [rad] near q for a tool pose near q's, None if they are not found.

        Newton's method within position limits: faster than `inverse`, but it gives up
        where that goes on, and ends within CLOSE. It is for looking ahead, not for commands.

        :param position: (3,) metres. :param rotation: (3, 3).
        """
        q, target = self._check(q, 'q'), pin.SE3(np.asarray(rotation), np.asarray(position))
        if self._solver.position_first:
            found = self._solver.solve(target, q, self.limits.box, FOLLOW_ITERATIONS)
            return found.q if found.position_error_m < CLOSE else None
        for _ in range(FOLLOW_ITERATIONS):
            pin.computeJointJacobians(self._model, self._data, q)
            placement = pin.updateFramePlacement(self._model, self._data, self._frame)
            error = pin.log6(placement.actInv(target)).vector
            if float(error @ error) < CLOSE * CLOSE:
                return q
            rows = pin.getFrameJacobian(
                self._model, self._data, self._frame, pin.ReferenceFrame.LOCAL
            )
            step = rows.T @ np.linalg.solve(rows @ rows.T + FOLLOW_DAMPING, error)
            q = self.limits.box.clip(q + step)
        return None

    @cached_property
    def _seeds(self) -> SeedTable:
        return SeedTable(self._matrix, *self.limits.finite, self.position_first)

    def _matrix(self, q: Vector) -> tuple[Vector, Vector]:
        placement = self._solver.placement(q)
        return placement.translation.copy(), placement.rotation.copy()

    def _check(self, q: ArrayLike, what: str) -> Vector:
        vector = np.array(q, dtype=np.float64)
        if vector.shape != (self._model.nq,) or not np.isfinite(vector).all():
            raise ValueError(f'{what} must be {self._model.nq} finite joint positions, got {q!r}')
        return vector


def _pose(position: ArrayLike, quaternion: ArrayLike) -> pin.SE3:
    vector = np.concatenate([np.asarray(position, np.float64), np.asarray(quaternion, np.float64)])
    if vector.shape != (7,) or not np.isfinite(vector).all() or not np.linalg.norm(vector[3:]) > 0:
        raise ValueError(
            f'a target is 3 metres and a quaternion (x, y, z, w), got {position!r}, {quaternion!r}'
        )
    vector[3:] /= np.linalg.norm(vector[3:])
    return pin.XYZQUATToSE3(vector)
