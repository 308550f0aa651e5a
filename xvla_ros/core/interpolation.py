# SPDX-License-Identifier: Apache-2.0
"""
SE(3) interpolation: from the anchors of a chunk to a pose at any time.

Positions follow a C2 cubic spline. Orientations follow the geodesic between neighbouring anchors.
The gripper changes in steps. Everything that does not depend on time is computed once, so that one
evaluation is scalar arithmetic of a few microseconds.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, GRIPPER, POSITION, ROTATION
from xvla_ros.core.quaternions import Quaternion, slerp
from xvla_ros.core.rotations import rotate6d_to_matrix

# One arm at one instant: x, y, z [m, arm base frame], qx, qy, qz, qw (unit), gripper (the model's
# probability).
Pose = tuple[float, float, float, float, float, float, float, float]
# One arm at one instant in either space (core/space.py): a Pose, or joints [rad] and the
# gripper's opening.
State = tuple[float, ...]
# Returns the state a fraction from one to another.
Mix = Callable[[State, State, float], State]


def mix_poses(a: State, b: State, u: float) -> State:
    """Return the pose a fraction `u` from `a` to `b`, with the gripper of `b`."""
    v = 1 - u
    turn = slerp(a[3:7], b[3:7], u)  # type: ignore[arg-type]
    return (v * a[0] + u * b[0], v * a[1] + u * b[1], v * a[2] + u * b[2], *turn, b[7])


def pose_to_arm(pose: State) -> ArmPose:
    """Return one interpolated pose as an ArmPose, gripper unchanged."""
    return ArmPose(position=np.array(pose[:3]), quaternion=np.array(pose[3:7]), gripper=pose[7])


def arm_to_pose(arm: ArmPose) -> Pose:
    """Return an ArmPose as the tuple that interpolation works on."""
    return (*arm.position.tolist(), *arm.quaternion.tolist(), arm.gripper)


@lru_cache(maxsize=16)
def _spline_operator(count: int) -> NDArray[np.float64]:
    """
    Return the matrix (4 (T - 1), T) from `count` anchors to cubic coefficients, highest first.

    The spline is natural at the start: the straight extension before the first anchor is then C2.
    Its end has no velocity: a plan that is not replaced brakes to a stop at its last anchor.
    """
    ends = ((2, np.zeros(count)), (1, np.zeros(count)))
    spline = CubicSpline(np.arange(count), np.eye(count), bc_type=ends)
    rows: NDArray[np.float64] = spline.c.transpose(1, 0, 2).reshape(4 * (count - 1), count)
    return rows


class ArmCurve(Protocol):
    """One arm over anchors at 0, 1, 2, ... periods."""

    def at(self, s: float) -> State:
        """Return the state `s` periods after the first anchor; `s` is at least -1."""


class JointSpline:
    """One arm's joints over anchors at 0, 1, 2, ... periods: the same spline for each."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        """
        Precompute the segments of joints [rad] and opening (T, n + 1).

        :raises ValueError: a joint is not finite, or some openings are NaN and others are not.
        """
        unknown = np.isnan(values[:, -1])
        if not np.isfinite(values[:, :-1]).all() or unknown.any() != unknown.all():
            raise ValueError('chunk holds values that are not finite')
        self._last = len(values) - 1
        self._end: list[float] = values[-1].tolist()
        if self._last:
            coefficients = _spline_operator(len(values)) @ values
            self._segments = coefficients.reshape(self._last, 4, -1).transpose(0, 2, 1).tolist()

    def at(self, s: float) -> State:
        """Return the joints and the opening."""
        if not self._last or s >= self._last:
            return tuple(self._end)
        k = max(int(s), 0)
        u = s - k
        if u < 0:  # before the first anchor: the tangent
            return tuple(c * u + d for _, _, c, d in self._segments[0])
        return tuple(((a * u + b) * u + c) * u + d for a, b, c, d in self._segments[k])


class _ArmSpline:
    """One arm's interpolation over anchors at 0, 1, 2, ... periods."""

    def __init__(
        self, positions: NDArray[np.float64], rotations: Rotation, grippers: NDArray[np.float64]
    ) -> None:
        """Precompute the segments of positions (T, 3) [m], T rotations and grippers (T,)."""
        self.grippers: list[float] = grippers.tolist()
        self.quaternions: list[Quaternion] = _same_cover(rotations.as_quat())
        self.last = len(self.grippers) - 1
        if self.last == 0:
            self.segments = [[0.0] * 9 + positions[0].tolist()]
            return
        coefficients = _spline_operator(len(positions)) @ positions  # (4 (T - 1), 3)
        self.segments = coefficients.reshape(self.last, 12).tolist()

    def at(self, s: float) -> Pose:
        """Return the pose `s` periods after the first anchor; `s` is at least -1."""
        if not self.last or s >= self.last:
            return (
                *self._position(max(self.last - 1, 0), min(self.last, 1.0)),
                *self.quaternions[-1],
                self.grippers[-1],
            )
        k = max(int(s), 0)
        q = slerp(self.quaternions[k], self.quaternions[k + 1], s - k)
        return (*self._position(k, s - k), *q, self.grippers[k])

    def _position(self, k: int, u: float) -> tuple[float, float, float]:
        a, b, c, d, e, f, g, h, i, x, y, z = self.segments[k]
        if u < 0:  # before the first anchor: the tangent
            a = b = c = d = e = f = 0.0
        return (
            ((a * u + d) * u + g) * u + x,
            ((b * u + e) * u + h) * u + y,
            ((c * u + f) * u + i) * u + z,
        )


def _same_cover(quaternions: NDArray[np.float64]) -> list[Quaternion]:
    """Return quaternions (T, 4) with signs such that neighbours differ little."""
    signs = np.sign(np.sum(quaternions[1:] * quaternions[:-1], axis=1))
    signs[signs == 0] = 1
    flips = np.concatenate([[1.0], np.cumprod(signs)])
    return [tuple(q) for q in (quaternions * flips[:, None]).tolist()]


def _arm_splines(chunk: Chunk, layout: str, arms: int | None) -> list[_ArmSpline]:
    """Return the arms of an EE6D chunk."""
    if not np.isfinite(chunk.actions).all():
        raise ValueError('chunk holds values that are not finite')
    halves = chunk.actions.reshape(len(chunk.actions), 2, ARM_SIZE)
    return [
        _ArmSpline(
            halves[:, arm, POSITION],
            Rotation.from_matrix(rotate6d_to_matrix(halves[:, arm, ROTATION], layout)),
            halves[:, arm, GRIPPER],
        )
        for arm in range(arms or chunk.arms)
    ]


class Trajectory:
    """
    A chunk as a curve in time, of all its arms.

    The curve passes through every anchor when it is due. Before the first anchor it is straight,
    for one period; after the last one it is constant. Immutable: any thread may evaluate it.
    """

    def __init__(
        self,
        chunk: Chunk,
        layout: str = '',
        arms: int | None = None,
        curves: Sequence[ArmCurve] | None = None,
    ) -> None:
        """
        Precompute the curve.

        :param layout: Rotate6D layout of the chunk's actions.
        :param arms: how many arms to read; None reads as many as the chunk moves.
        :param curves: one curve per arm, if the actions are not EE6D.
        :raises ValueError: the actions are not finite or hold Rotate6D values that define no
            rotation.
        """
        self.stamp_ns = chunk.stamp_ns
        self.sequence = chunk.sequence
        self.first_index = chunk.first_index
        self.end_ns = chunk.end_ns
        self._first_ns = chunk.due_ns(0)
        self._period_ns = chunk.period_ns
        self._arms = tuple(_arm_splines(chunk, layout, arms) if curves is None else curves)

    def at(self, time_ns: int) -> tuple[State, ...]:
        """Return one state per arm at a time on the observation's clock."""
        s = max((time_ns - self._first_ns) / self._period_ns, -1.0)
        return tuple(arm.at(s) for arm in self._arms)

    def stamp_at(self, time_ns: int) -> float:
        """Return the stamp of the observation behind the pose at that time [ns]."""
        return float(self.stamp_ns)

    def settled_ns(self) -> int:
        """Return the time after which the curve no longer moves."""
        return self.end_ns
