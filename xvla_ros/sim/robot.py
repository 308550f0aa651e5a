# SPDX-License-Identifier: Apache-2.0
"""One simulated arm: takes joint or tool targets, returns joint positions and the tool pose."""

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.sim_settings import SimArmSettings

# Largest speed of the opening [1/s]: the Franka Hand needs 0.4 s to close fully.
GRIPPER_SPEED_HZ = 2.5
# Largest acceleration of the setpoints. It is high enough to brake with `limits.*_acceleration_*`
# and to be at rest 0.2 s after a hold began.
ACCELERATION_RAD_S2 = 40.0
# Near its target a setpoint slows down: speed = SETTLE_HZ * remaining distance.
SETTLE_HZ = 30.0
# Setpoints use this share of the joints' speed limits, because the servos overshoot a little.
SPEED_SHARE = 0.9
# Inverse kinematics goes towards a tool target by at most this much time at full joint speed.
LOOK_AHEAD_S = 0.1


class SimArm:
    """Drives one arm's servos at the control rate, within the URDF's position and speed limits."""

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        name: str,
        kinematics: Kinematics,
        arm: ArmSettings,
        place: SimArmSettings,
    ) -> None:
        """
        Put the arm at its home pose.

        :param model: a world in which this arm has the prefix `name`. :param data: its state.
        :param kinematics: of this arm's joints and tool.
        """
        self.kinematics = kinematics
        self._data = data
        self._home, self._joint_space = np.array(arm.home_rad), bool(arm.joints)
        self._open, self._closed = np.array(place.finger_open_m), np.array(place.finger_closed_m)
        self._joints = _addresses(model, name, arm.joint_names)
        self._fingers = _addresses(model, name, place.finger_joints)
        self._servos = [model.actuator(f'{name}/{j}').id for j in arm.joint_names]
        self._finger_servos = [model.actuator(f'{name}/{j}').id for j in place.finger_joints]
        self.place(self._home)

    def place(self, q: ArrayLike, opening: float = 1.0) -> None:
        """Put the arm at joints q (n,) [rad], at rest, and make them its target."""
        self._setpoint = np.clip(
            np.array(q, np.float64), self.kinematics.lower, self.kinematics.upper
        )
        self._joint_target = self._setpoint
        self._tool_target: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._speed = np.zeros_like(self._setpoint)
        self._opening = self._opening_target = float(opening)
        fingers = self._closed + opening * (self._open - self._closed)
        for (positions, speeds), values in (
            (self._joints, self._setpoint),
            (self._fingers, fingers),
        ):
            self._data.qpos[positions] = values
            self._data.qvel[speeds] = 0.0
        self._write()

    def home(self) -> None:
        """Put the arm at its home pose with an open gripper."""
        self.place(self._home)

    def set_joint_targets(self, q: ArrayLike) -> None:
        """
        Go to joints q (n,) [rad]; this replaces a tool target.

        :raises ValueError: q has another shape, or a value that is not finite.
        """
        q = np.asarray(q, np.float64)
        if q.shape != self._setpoint.shape or not np.isfinite(q).all():
            raise ValueError(
                f'joint targets must be {len(self._setpoint)} finite radians, got {q}'
            )
        self._joint_target, self._tool_target = (
            np.clip(q, self.kinematics.lower, self.kinematics.upper),
            None,
        )

    def set_tool_target(self, position: ArrayLike, quaternion: ArrayLike) -> None:
        """Go to a tool pose in the base frame, (3,) [m] and (4,) xyzw; replaces a joint target."""
        self._tool_target = (np.array(position, np.float64), np.array(quaternion, np.float64))

    def set_gripper(self, opening: float) -> None:
        """Move the fingers to an opening, 0 closed to 1 open; NaN keeps the present target."""
        if np.isfinite(opening):
            self._opening_target = float(np.clip(opening, 0.0, 1.0))

    def tick(self, dt_s: float) -> None:
        """Move the servos' setpoints by one control period."""
        if self._tool_target is not None:
            self._joint_target = self.kinematics.track(
                self._setpoint, *self._tool_target, LOOK_AHEAD_S
            ).q
        self._move(dt_s)
        span = GRIPPER_SPEED_HZ * dt_s
        self._opening += float(np.clip(self._opening_target - self._opening, -span, span))
        self._write()

    def joint_positions(self) -> NDArray[np.float64]:
        """Return the measured joints (n,) [rad]."""
        return np.array(self._data.qpos[self._joints[0]])

    def joint_velocities(self) -> NDArray[np.float64]:
        """Return the measured joint speeds (n,) [rad/s]."""
        return np.array(self._data.qvel[self._joints[1]])

    def finger_positions(self) -> NDArray[np.float64]:
        """Return the measured finger joints (n,) [m]."""
        return np.array(self._data.qpos[self._fingers[0]])

    def tool_pose(self) -> ArmPose:
        """Return the measured tool pose in the base frame, opening, and joints in joint space."""
        joints = self.joint_positions()
        position, quaternion = self.kinematics.forward(joints)
        opening = np.mean((self.finger_positions() - self._closed) / (self._open - self._closed))
        return ArmPose(
            position=position,
            quaternion=quaternion,
            gripper=float(np.clip(opening, 0.0, 1.0)),
            joints=joints if self._joint_space else None,
        )

    def _move(self, dt_s: float) -> None:
        """Move the setpoint towards the joint target, within its speed and acceleration limits."""
        way = self._joint_target - self._setpoint
        braking = np.sqrt(2 * ACCELERATION_RAD_S2 * np.abs(way))
        limit = np.minimum(braking, SPEED_SHARE * self.kinematics.velocity_limit)
        change = np.clip(SETTLE_HZ * way, -limit, limit) - self._speed
        most = ACCELERATION_RAD_S2 * dt_s
        self._speed = self._speed + np.clip(change, -most, most)
        ahead = self._setpoint + self._speed * dt_s
        self._setpoint = np.clip(ahead, self.kinematics.lower, self.kinematics.upper)

    def _write(self) -> None:
        self._data.ctrl[self._servos] = self._setpoint
        self._data.ctrl[self._finger_servos] = self._closed + self._opening * (
            self._open - self._closed
        )


def _addresses(
    model: mujoco.MjModel, name: str, joints: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Return the indices of the joints' positions in qpos, and of their speeds in qvel."""
    ids = [model.joint(f'{name}/{joint}').id for joint in joints]
    return [int(model.jnt_qposadr[i]) for i in ids], [int(model.jnt_dofadr[i]) for i in ids]
