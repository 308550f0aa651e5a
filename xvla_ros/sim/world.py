# SPDX-License-Identifier: Apache-2.0
"""A simulated robot cell: one embodiment's arms, a table, three blocks and cameras."""

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.cameras import Cameras
from xvla_ros.sim.model import BLOCK_RGB, build_model, look_at
from xvla_ros.sim.robot import SimArm
from xvla_ros.sim.scenes import COLOURS, Look, Scene

# MuJoCo's warnings after which it begins the simulation anew by itself.
UNSTABLE = [
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    )
]
# Rate of the arms' own controllers: setpoints move and tool targets are tracked this often.
CONTROL_RATE_HZ = 100.0


class World:
    """
    The cell of one embodiment, arms named as in `arm_names`; z is up, the table top z = 0.

    Poses of an arm are in its base frame; block positions in the world unless said otherwise.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Build the world of an embodiment that has a `sim` block; every arm at home."""
        assert embodiment.sim is not None
        self.embodiment, self._sim = embodiment, embodiment.sim
        self._model = build_model(embodiment)
        self._data = mujoco.MjData(self._model)
        self.arms = {name: self._arm(name) for name in embodiment.arm_names}
        self._cameras = Cameras(self._model, self._data)
        self._steps = 0
        self._steps_per_tick = max(1, round(self._sim.physics_rate_hz / CONTROL_RATE_HZ))
        mujoco.mj_forward(self._model, self._data)

    def reset(self, scene: Scene) -> None:
        """Begin an episode: arms at home, blocks and look as the scene says, time zero."""
        mujoco.mj_resetData(self._model, self._data)
        self._steps = 0
        for arm in self.arms.values():
            arm.home()
        for block in scene.blocks:
            joint = self._data.joint(f'block/{block.colour}')
            half_yaw = block.yaw_rad / 2
            joint.qpos[:] = (
                block.x_m,
                block.y_m,
                self._sim.block_size_m / 2,
                np.cos(half_yaw),
                0,
                0,
                np.sin(half_yaw),
            )
        self._dress(scene.look)
        mujoco.mj_forward(self._model, self._data)

    def step(self, dt_s: float) -> None:
        """
        Let time pass, rounded to whole physics steps (at least one).

        :raises ConfigError: positions, speeds or accelerations have left all bounds.
        """
        for _ in range(max(1, round(dt_s * self._sim.physics_rate_hz))):
            if self._steps % self._steps_per_tick == 0:
                for arm in self.arms.values():
                    arm.tick(self._steps_per_tick / self._sim.physics_rate_hz)
            mujoco.mj_step(self._model, self._data)
            self._steps += 1
        if self._data.warning.number[UNSTABLE].any():  # MuJoCo has put everything back by itself
            raise ConfigError(
                f"the simulation of '{self.embodiment.robot}' became unstable after "
                f'{self._steps / self._sim.physics_rate_hz:.2f} s: masses, inertias or efforts in '
                'a URDF are out of proportion, or sim.physics_rate_hz is too low'
            )

    @property
    def time_s(self) -> float:
        """Simulated time since the reset [s]."""
        return float(self._data.time)

    def set_joint_targets(self, arm: str, q: ArrayLike) -> None:
        """Send an arm to joints q (n,) [rad] at its joints' speed limits."""
        self.arms[arm].set_joint_targets(q)

    def set_tool_target(self, arm: str, position: ArrayLike, quaternion: ArrayLike) -> None:
        """Send an arm's tool to a pose in its base frame: (3,) m and xyzw."""
        self.arms[arm].set_tool_target(position, quaternion)

    def set_gripper(self, arm: str, opening: float) -> None:
        """Move a gripper to an opening, 0 closed to 1 open."""
        self.arms[arm].set_gripper(opening)

    def place_arm(self, arm: str, q: ArrayLike, opening: float = 1.0) -> None:
        """Put an arm at joints q (n,) [rad] without moving there: for collecting data."""
        self.arms[arm].place(q, opening)
        mujoco.mj_forward(self._model, self._data)

    def joint_positions(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's measured joints (n,) [rad]."""
        return self.arms[arm].joint_positions()

    def joint_velocities(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's measured joint speeds (n,) [rad/s]."""
        return self.arms[arm].joint_velocities()

    def finger_positions(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's measured finger joints [m]."""
        return self.arms[arm].finger_positions()

    def tool_pose(self, arm: str) -> ArmPose:
        """Return an arm's measured tool pose in its base frame, with the measured opening."""
        return self.arms[arm].tool_pose()

    def block_positions(self) -> dict[str, NDArray[np.float64]]:
        """Return the centre (3,) of every block in the world [m]."""
        return {c: self._data.body(f'block/{c}').xpos.copy() for c in COLOURS}

    def block_in_base(self, arm: str, colour: str) -> NDArray[np.float64]:
        """Return the centre (3,) of a block in an arm's base frame [m]."""
        return self._in_base(arm, f'block/{colour}')

    def body_in_base(self, arm: str, link: str) -> NDArray[np.float64]:
        """Return the origin (3,) of one of an arm's links in its base frame [m]."""
        return self._in_base(arm, f'{arm}/{link}')

    def render(
        self, camera: str, width: int, height: int, shadows: bool = False
    ) -> NDArray[np.uint8]:
        """Return what a camera of `sim.cameras` sees now, (height, width, 3) RGB."""
        return self._cameras.render(camera, width, height, shadows)

    def project(self, camera: str, points: ArrayLike) -> NDArray[np.float64]:
        """Return where a square picture shows world points (N, 3): (N, 2), 0 to 1, y down."""
        return self._cameras.project(camera, points)

    def close(self) -> None:
        """Free the drawing contexts."""
        self._cameras.close()

    def _in_base(self, arm: str, body: str) -> NDArray[np.float64]:
        base = self._data.body(f'{arm}/{self.embodiment.arms[arm].base_frame}')
        return base.xmat.reshape(3, 3).T @ (self._data.body(body).xpos - base.xpos)

    def _arm(self, name: str) -> SimArm:
        arm = self.embodiment.arms[name]
        urdf = shared_file('resource', arm.urdf)
        kinematics = Kinematics(urdf, arm.tool_frame, arm.joint_names, posture=arm.home_rad)
        for joint, speed in zip(arm.joint_names, kinematics.velocity_limit, strict=True):
            if speed <= 0:
                raise ConfigError(
                    f"{urdf}: joint '{joint}' has a velocity limit of {speed:g}, expected above 0"
                )
        return SimArm(self._model, self._data, name, kinematics, arm, self._sim.arms[name])

    def _dress(self, look: Look) -> None:
        """Give the world a scene's colours, light and camera shifts."""
        model = self._model
        model.light('lamp').pos[:] = look.light_position_m
        towards = np.array([0.45, 0.0, 0.0]) - look.light_position_m
        model.light('lamp').dir[:] = towards / np.linalg.norm(towards)
        model.light('lamp').diffuse[:] = look.light
        model.light('lamp').specular[:] = 0.1
        model.vis.headlight.ambient[:] = look.ambient
        model.vis.headlight.diffuse[:] = 0.25
        model.vis.headlight.specular[:] = 0.0
        model.geom('table').rgba[:3] = look.table_rgb
        model.geom('floor').rgba[:3] = look.floor_rgb
        for colour, shade in zip(COLOURS, look.block_shade, strict=True):
            model.geom(f'block/{colour}').rgba[:3] = np.multiply(BLOCK_RGB[colour], shade)
        for (name, camera), shift in zip(
            self._sim.cameras.items(), look.camera_shifts_m, strict=True
        ):
            position, target = (
                np.add(camera.position_m, shift[:3]),
                np.add(camera.target_m, shift[3:]),
            )
            model.camera(name).pos[:] = position
            model.camera(name).quat[:] = look_at(position, target, camera.up)
