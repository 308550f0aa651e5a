# SPDX-License-Identifier: Apache-2.0
"""
One arm's kinematics from its URDF: forward, Jacobian, and inverse without joint jumps.

Poses are of the tool frame in the root link of the URDF, or in another fixed link: position (3,)
in metres, quaternion (x, y, z, w). Joints that are not listed, such as fingers, stay at neutral.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
import pinocchio as pin

from xvla_ros.control.least_squares import Box, descend
from xvla_ros.control.seeds import SeedTable
from xvla_ros.control.urdf import read_chain
from xvla_ros.core.errors import ConfigError

Vector = NDArray[np.float64]

# A pose counts as reached within a tenth of what drivers need (1 mm, 0.5 degrees).
POSITION_TOLERANCE_M = 1e-4
ROTATION_TOLERANCE_RAD = 5e-4
# One radian of rotation error counts as much as this many metres: about the length of a hand.
METRES_PER_RADIAN = 0.2
# Share of the distance to the posture that redundant joints move per iteration.
POSTURE_GAIN = 0.05
WARM_ITERATIONS = 30
TRACK_ITERATIONS = 4
# `follow`: largest error [m and rad together], small against the 5 mm that links keep apart. It
# takes two or three steps per 5 cm; near a singularity it takes more, and ends there.
CLOSE = 2e-3
FOLLOW_ITERATIONS = 8
FOLLOW_DAMPING = 1e-6 * np.eye(6)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IkResult:
    """
    The best joints q (n,) [rad] that were found for a target, and their errors.

    converged: both errors are within tolerance. reason: why not, otherwise.
    """

    q: Vector
    position_error_m: float
    rotation_error_rad: float
    converged: bool
    reason: str


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

    def forward(self, q: ArrayLike) -> tuple[Vector, Vector]:
        """Return the tool's position (3,) [m] and quaternion (4,) xyzw for joints q (n,) [rad]."""
        vector = pin.SE3ToXYZQUAT(self._placement(self._check(q, 'q')))
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

        :param position: (3,) metres.
        :param quaternion: (4,) xyzw.
        :param seed: (n,) radians.
        :param restarts: how many stored postures to try; 0 searches from the seed only.
        """
        target = _pose(position, quaternion)
        seed, box = self._check(seed, 'seed'), self.limits.box
        best = self._solve(target, seed, box, WARM_ITERATIONS)
        if best.converged or restarts == 0:
            return best
        for start in self._seeds.nearest(target.translation, target.rotation, restarts):
            start = self.limits.nearest_turn(start, seed)
            found = self._solve(target, start, box, WARM_ITERATIONS)
            if _cost(found) < _cost(best):
                best = found
            if best.converged:
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
        return self._solve(_pose(position, quaternion), q, box, TRACK_ITERATIONS)

    def follow(self, q: ArrayLike, position: ArrayLike, rotation: ArrayLike) -> Vector | None:
        """
        Return joints (n,) [rad] near q for a tool pose near q's, None if they are not found.

        Newton's method within position limits: faster than `inverse`, but it gives up
        where that goes on, and ends within CLOSE. It is for looking ahead, not for commands.

        :param position: (3,) metres. :param rotation: (3, 3).
        """
        q, target = self._check(q, 'q'), pin.SE3(np.asarray(rotation), np.asarray(position))
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
        return SeedTable(self._matrix, *self.limits.finite)

    def _matrix(self, q: Vector) -> tuple[Vector, Vector]:
        placement = self._placement(q)
        return placement.translation.copy(), placement.rotation.copy()

    def _placement(self, q: Vector) -> pin.SE3:
        pin.forwardKinematics(self._model, self._data, q)
        return pin.updateFramePlacement(self._model, self._data, self._frame)

    def _check(self, q: ArrayLike, what: str) -> Vector:
        vector = np.array(q, dtype=np.float64)
        if vector.shape != (self._model.nq,) or not np.isfinite(vector).all():
            raise ValueError(f'{what} must be {self._model.nq} finite joint positions, got {q!r}')
        return vector

    def _solve(self, target: pin.SE3, start: Vector, box: Box, iterations: int) -> IkResult:
        """Return the result of the descent from one start within a box of joints."""

        def residual(q: Vector) -> tuple[Vector, float, float]:
            error = pin.log6(self._placement(q).actInv(target)).vector
            rotation = float(np.linalg.norm(error[3:]))
            error[3:] *= METRES_PER_RADIAN
            return error, float(np.linalg.norm(error[:3])), rotation

        def jacobian(q: Vector) -> Vector:
            pin.computeJointJacobians(self._model, self._data, q)
            rows: Vector = pin.getFrameJacobian(
                self._model, self._data, self._frame, pin.ReferenceFrame.LOCAL
            )
            rows[3:] *= METRES_PER_RADIAN
            return rows

        found = descend(
            residual,
            jacobian,
            start=box.clip(start),
            box=box,
            posture=self.limits.nearest_turn(self.posture, start) if self._model.nv > 6 else None,
            posture_gain=POSTURE_GAIN,
            tolerances=(POSITION_TOLERANCE_M, ROTATION_TOLERANCE_RAD),
            iterations=iterations,
        )
        return self._result(found.q, found.first, found.second, box)

    def _result(
        self, q: Vector, position_error: float, rotation_error: float, box: Box
    ) -> IkResult:
        converged = (
            position_error <= POSITION_TOLERANCE_M and rotation_error <= ROTATION_TOLERANCE_RAD
        )
        return IkResult(
            q=q,
            position_error_m=position_error,
            rotation_error_rad=rotation_error,
            converged=converged,
            reason='' if converged else self._reason(q, box),
        )

    def _reason(self, q: Vector, box: Box) -> str:
        """Return the joints whose limits stopped the descent, as text."""
        held = [i for i in range(len(q)) if q[i] <= box.lower[i] or q[i] >= box.upper[i]]
        if not held:
            return 'the target is out of reach or next to a singularity'
        at_limit = [i for i in held if q[i] <= self.lower[i] or q[i] >= self.upper[i]]
        what = 'position limit' if at_limit else 'speed limit'
        return f'{what} of {", ".join(self.joint_names[i] for i in at_limit or held)}'


def _cost(result: IkResult) -> float:
    return result.position_error_m + METRES_PER_RADIAN * result.rotation_error_rad


def _pose(position: ArrayLike, quaternion: ArrayLike) -> pin.SE3:
    vector = np.concatenate([np.asarray(position, np.float64), np.asarray(quaternion, np.float64)])
    if vector.shape != (7,) or not np.isfinite(vector).all() or not np.linalg.norm(vector[3:]) > 0:
        raise ValueError(
            f'a target is 3 metres and a quaternion (x, y, z, w), got {position!r}, {quaternion!r}'
        )
    vector[3:] /= np.linalg.norm(vector[3:])
    return pin.XYZQUATToSE3(vector)
