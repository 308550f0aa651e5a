# SPDX-License-Identifier: Apache-2.0
"""
Joints for a tool pose by descent from one start.

An arm of fewer than six joints has a pose for each position, but not for each rotation. There
position comes first: the tool goes there, and turns as near to the rotation as that allows.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
import pinocchio as pin

from xvla_ros.control.inverse.least_squares import Box, descend, Descent
from xvla_ros.control.joint_limits import JointLimits

Vector = NDArray[np.float64]

# A pose counts as reached within a tenth of what drivers need (1 mm, 0.5 degrees).
POSITION_TOLERANCE_M = 1e-4
ROTATION_TOLERANCE_RAD = 5e-4
# One radian of rotation error counts as much as this many metres: about the length of a hand.
METRES_PER_RADIAN = 0.2
# After a turn the position is solved for to a tenth of its tolerance, so that turns have room.
PLACED_M = 0.1 * POSITION_TOLERANCE_M
NEARER_RAD = 1e-6  # a turn must bring the rotation nearer by more
HALVINGS = 8  # how often a turn that does not is halved
LONGEST_TURN_RAD = 0.1  # of a joint in one turn: what it moves the tool is taken back afterwards
TURN_DAMPING = 1e-4
STILL_M = 2e-3  # a motion of the joints by a radian that moves the tool by less is a turn
# Joints that would leave their limits within this share of a turn make no part of it. Where that
# does not help, they may go as far as their limits.
SHARES = (1.0, 0.1)
POSE_JOINTS = 6  # an arm of fewer joints cannot take every pose
# Share of the distance to the posture that redundant joints move per iteration.
POSTURE_GAIN = 0.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IkResult:
    """
    The best joints q (n,) [rad] that were found for a target, and their errors.

    converged: both errors are within tolerance, of an arm of fewer than six joints that of the
    position. reason: why not, otherwise.
    """

    q: Vector
    position_error_m: float
    rotation_error_rad: float
    converged: bool
    reason: str


class PoseSolver:
    """Solves for the joints of one arm. One thread at a time."""

    def __init__(
        self, model: pin.Model, data: pin.Data, frame: int, limits: JointLimits, posture: Vector
    ) -> None:
        """:param frame: index of the tool. :param posture: that spare joints are pulled to."""
        self._model, self._data, self._frame = model, data, frame
        self._limits, self._posture = limits, posture
        self.position_first: bool = model.nv < POSE_JOINTS

    def placement(self, q: Vector) -> pin.SE3:
        """Return the tool's pose for joints q (n,) [rad]."""
        pin.forwardKinematics(self._model, self._data, q)
        return pin.updateFramePlacement(self._model, self._data, self._frame)

    def solve(self, target: pin.SE3, start: Vector, box: Box, iterations: int) -> IkResult:
        """Return the result of the descent from one start within a box of joints."""
        if self.position_first:
            return self._result(self._placed(target, start, box, iterations), box)
        return self._result(self._descend(target, start, box, iterations, METRES_PER_RADIAN), box)

    def _placed(self, target: pin.SE3, start: Vector, box: Box, iterations: int) -> Descent:
        """
        Return joints that take the position, and the rotation as far as that allows.

        A turn that does not bring the rotation nearer is not made, so that the arm comes to rest.
        """
        best = self._descend(target, start, box, iterations, 0.0, POSITION_TOLERANCE_M)
        near_m = max(POSITION_TOLERANCE_M, best.first)
        for _ in range(iterations):
            found = self._nearer(target, best, box, iterations, near_m)
            if found is None:
                return best
            best = found
        return best

    def _nearer(
        self, target: pin.SE3, best: Descent, box: Box, iterations: int, near_m: float
    ) -> Descent | None:
        """Return joints with the rotation nearer and the position kept; None if none is found."""
        for share in SHARES:
            turn = self._turn(target, best.q, box, share)
            for _ in range(HALVINGS if turn.any() else 0):
                found = self._descend(target, best.q + turn, box, iterations, 0.0)
                if found.first <= near_m and found.second < best.second - NEARER_RAD:
                    return found
                turn = turn / 2
        return None

    def _turn(self, target: pin.SE3, q: Vector, box: Box, share: float) -> Vector:
        """
        Return the step of the joints (n,) that turns the tool in place, to first order.

        :param share: a joint that would leave its limits within this share of the step stays.
        """
        rows, error = self._jacobian(q), self._error(self.placement(q), target)
        free, step = np.ones(len(q), bool), np.zeros_like(q)
        while free.any():
            _, moves, motions = np.linalg.svd(rows[:3, free])
            still = motions[int((moves > STILL_M).sum()) :].T  # do not move the tool
            turns = rows[3:, free] @ still
            normal = turns.T @ turns + TURN_DAMPING * np.eye(turns.shape[1])
            step[:] = 0.0
            step[free] = still @ np.linalg.solve(normal, turns.T @ error[3:])
            step *= min(1.0, LONGEST_TURN_RAD / max(float(np.abs(step).max()), 1e-9))
            beyond = np.abs(box.clip(q + share * step) - (q + share * step))
            if not beyond.any():
                return step
            free[int(np.argmax(beyond))] = False  # one by one: the others may then stay inside
        return np.zeros_like(q)

    def _descend(
        self,
        target: pin.SE3,
        start: Vector,
        box: Box,
        iterations: int,
        weight: float,
        placed_m: float = PLACED_M,
    ) -> Descent:
        """
        Descend from one start; `weight` is what a radian counts [m], 0: position alone.

        :param placed_m: the error at which that ends.
        """

        def residual(q: Vector) -> tuple[Vector, float, float]:
            error = self._error(self.placement(q), target)
            rotation = float(np.linalg.norm(error[3:]))
            error[3:] *= weight
            return error, float(np.linalg.norm(error[:3])), rotation

        def jacobian(q: Vector) -> Vector:
            rows = self._jacobian(q)
            rows[3:] *= weight
            return rows

        spare = self._model.nv > POSE_JOINTS
        return descend(
            residual,
            jacobian,
            start=box.clip(start),
            box=box,
            posture=self._limits.nearest_turn(self._posture, start) if spare else None,
            posture_gain=POSTURE_GAIN,
            tolerances=(POSITION_TOLERANCE_M, ROTATION_TOLERANCE_RAD)
            if weight
            else (placed_m, np.inf),
            iterations=iterations,
        )

    def _jacobian(self, q: Vector) -> Vector:
        """Return the tool's Jacobian (6, n) in its own axes, linear rows first."""
        pin.computeJointJacobians(self._model, self._data, q)
        rows: Vector = pin.getFrameJacobian(
            self._model, self._data, self._frame, pin.ReferenceFrame.LOCAL
        )
        return rows

    def _error(self, placement: pin.SE3, target: pin.SE3) -> Vector:
        """Return a tool pose's error (6,) in its own axes: position [m], rotation [rad]."""
        between = placement.actInv(target)
        if not self.position_first:
            twist: Vector = pin.log6(between).vector
            return twist
        # Where the rotation stays off, its size must not count as an error of the position.
        return np.concatenate([between.translation, pin.log3(between.rotation)])

    def _result(self, found: Descent, box: Box) -> IkResult:
        result = IkResult(
            q=found.q,
            position_error_m=found.first,
            rotation_error_rad=found.second,
            converged=False,
            reason='',
        )
        if taken(result) or (self.position_first and found.first <= POSITION_TOLERANCE_M):
            return replace(result, converged=True)
        return replace(result, reason=self._reason(found.q, box))

    def cost(self, result: IkResult) -> float:
        """Return how bad a result is, to compare it with others."""
        turn_m = METRES_PER_RADIAN * result.rotation_error_rad
        if not self.position_first:
            return result.position_error_m + turn_m
        return turn_m if result.converged else 1.0 + result.position_error_m

    def _reason(self, q: Vector, box: Box) -> str:
        """Return the joints whose limits stopped the descent, as text."""
        held = [i for i in range(len(q)) if q[i] <= box.lower[i] or q[i] >= box.upper[i]]
        if not held:
            return 'the target is out of reach or next to a singularity'
        at_limit = [
            i for i in held if q[i] <= self._limits.lower[i] or q[i] >= self._limits.upper[i]
        ]
        what = 'position limit' if at_limit else 'speed limit'
        return f'{what} of {", ".join(self._limits.names[i] for i in at_limit or held)}'


def taken(result: IkResult) -> bool:
    """Tell whether joints take a pose, its rotation included."""
    return (
        result.position_error_m <= POSITION_TOLERANCE_M
        and result.rotation_error_rad <= ROTATION_TOLERANCE_RAD
    )
