# SPDX-License-Identifier: Apache-2.0
"""A simulated robot cell: the arms of one embodiment, a table, three blocks and cameras."""

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.cameras import Cameras
from xvla_ros.sim.frames import Frames
from xvla_ros.sim.model import BLOCK_RGB, build_model, look_at
from xvla_ros.sim.robot import SimArm
from xvla_ros.sim.scenes import COLOURS, Look, Scene

# After one of these warnings MuJoCo resets the simulation by itself.
UNSTABLE = [
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    )
]
# Rate of the simulated arms' own controllers, which move the setpoints of their servos.
CONTROL_RATE_HZ = 100.0


class World:
    """
    The cell of one embodiment; its arms have the names of `arm_names`.

    In the world frame z points up, and z = 0 is the table top. An arm's poses are in its base
    frame. Positions of blocks are in the world frame unless a method says otherwise.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Build the world, with every arm at home.

        :param embodiment: one that has a `sim` block.
        :raises ConfigError: a URDF cannot be simulated.
        """
        assert embodiment.sim is not None
        self.embodiment, self._sim = embodiment, embodiment.sim
        self._model = build_model(embodiment)
        self._data = mujoco.MjData(self._model)
        self.arms = {name: self._arm(name) for name in embodiment.arm_names}
        self._cameras = Cameras(self._model, self._data)
        self.frames = Frames(self._model, self._data, embodiment)
        self._steps = 0
        self._steps_per_tick = max(1, round(self._sim.physics_rate_hz / CONTROL_RATE_HZ))
        mujoco.mj_forward(self._model, self._data)

    def reset(self, scene: Scene) -> None:
        """Begin a scene: arms at home, blocks and look as in the scene, time 0."""
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
        Simulate a time, rounded to whole physics steps (at least one).

        :raises ConfigError: the simulation became unstable: MuJoCo found a position, speed or
            acceleration that is not finite or too large.
        """
        for _ in range(max(1, round(dt_s * self._sim.physics_rate_hz))):
            if self._steps % self._steps_per_tick == 0:
                for arm in self.arms.values():
                    arm.tick(self._steps_per_tick / self._sim.physics_rate_hz)
            mujoco.mj_step(self._model, self._data)
            self._steps += 1
        if self._data.warning.number[UNSTABLE].any():  # MuJoCo has reset the simulation by itself
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
        """Set an arm's target joints q (n,) [rad]; it moves within its joints' speed limits."""
        self.arms[arm].set_joint_targets(q)

    def set_tool_target(self, arm: str, position: ArrayLike, quaternion: ArrayLike) -> None:
        """Set the target of an arm's tool in its base frame: (3,) [m] and (4,) xyzw."""
        self.arms[arm].set_tool_target(position, quaternion)

    def set_gripper(self, arm: str, opening: float) -> None:
        """Set a gripper's target opening, 0 closed to 1 open; NaN keeps the present one."""
        self.arms[arm].set_gripper(opening)

    def place_arm(self, arm: str, q: ArrayLike, opening: float = 1.0) -> None:
        """Put an arm at joints q (n,) [rad] at once; for collecting training data."""
        self.arms[arm].place(q, opening)
        mujoco.mj_forward(self._model, self._data)

    def joint_positions(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's measured joints (n,) [rad]."""
        return self.arms[arm].joint_positions()

    def joint_velocities(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's measured joint speeds (n,) [rad/s]."""
        return self.arms[arm].joint_velocities()

    def finger_positions(self, arm: str) -> NDArray[np.float64]:
        """Return an arm's measured finger joints (n,) [m]."""
        return self.arms[arm].finger_positions()

    def tool_pose(self, arm: str) -> ArmPose:
        """Return an arm's measured tool pose in its base frame, with the measured opening."""
        return self.arms[arm].tool_pose()

    def block_positions(self) -> dict[str, NDArray[np.float64]]:
        """Return the centre (3,) of every block in the world frame [m], by colour."""
        return {c: self._data.body(f'block/{c}').xpos.copy() for c in COLOURS}

    def tool_positions(self) -> dict[str, NDArray[np.float64]]:
        """Return the tool (3,) of every arm in the world frame [m], by the arm's name."""
        tools = {name: arm.tool_frame for name, arm in self.embodiment.arms.items()}
        return {name: self._data.body(f'{name}/{t}').xpos.copy() for name, t in tools.items()}

    def block_in_base(self, arm: str, colour: str) -> NDArray[np.float64]:
        """Return the centre (3,) of a block in an arm's base frame [m]."""
        return self._in_base(arm, f'block/{colour}')

    def body_in_base(self, arm: str, link: str) -> NDArray[np.float64]:
        """Return the origin (3,) of one of an arm's links in its base frame [m]."""
        return self._in_base(arm, f'{arm}/{link}')

    def render(
        self, camera: str, width: int, height: int, shadows: bool = False
    ) -> NDArray[np.uint8]:
        """Return the image of a camera of `sim.cameras`, see `Cameras.render`."""
        return self._cameras.render(camera, width, height, shadows)

    def project(self, camera: str, points: ArrayLike) -> NDArray[np.float64]:
        """Project points (N, 3) of the world frame into an image, see `Cameras.project`."""
        return self._cameras.project(camera, points)

    def close(self) -> None:
        """Free the OpenGL contexts."""
        self._cameras.close()

    def _in_base(self, arm: str, body: str) -> NDArray[np.float64]:
        base = self._data.body(f'{arm}/{self.embodiment.arms[arm].base_frame}')
        seen: NDArray[np.float64] = self._data.body(body).xpos - base.xpos
        turned: NDArray[np.float64] = base.xmat.reshape(3, 3).T @ seen
        return turned

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
        """Apply a scene's colours, light and camera shifts."""
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
