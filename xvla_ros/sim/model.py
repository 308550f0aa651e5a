# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo model of an embodiment: arms from their URDFs, table, blocks, cameras, light."""

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.sim_settings import SimArmSettings, SimSettings
from xvla_ros.sim.description import compile_world, read_arm
from xvla_ros.sim.scenes import COLOURS

BLOCK_RGB = {'red': (0.85, 0.08, 0.07), 'green': (0.1, 0.62, 0.16), 'blue': (0.1, 0.25, 0.85)}
# A 4 cm wooden block weighs about 40 g: 0.65 g/cm3.
BLOCK_DENSITY_KG_M3 = 650.0
# Time constant [s] and damping ratio of contacts with blocks and arms. With MuJoCo's default of
# 0.02 s fingers sink 3 to 4 mm into a block. It must be at least two physics steps.
CONTACT = (0.004, 1.0)
TABLE_THICKNESS_M = 0.04
FLOOR_M = -0.75
# Each joint's servo is tuned to this bandwidth at the home pose and critically damped. It follows
# a moving target with a delay of 2/60 s, about that of industrial position controllers.
SERVO_RAD_S = 60.0
# The gripper's servo. It is stiff enough to hold a block with 20 N when commanded fully closed.
FINGER_STIFFNESS_N_M = 1000.0
FINGER_FORCE_N = 30.0
FINGER_ARMATURE_KG = 0.1
# Rotor inertia at a joint: 0.1 kg m2 as in MuJoCo Menagerie's Panda, and less for a motor that
# could not reach LEAST_ACCELERATION_RAD_S2 with it. Without it light wrists oscillate when the
# heavy joints start to move.
ROTOR_KG_M2 = 0.1
LEAST_ACCELERATION_RAD_S2 = 100.0
# Collision masks: the world is bit 0, arm i is bit i + 1. No arm collides with itself.
WORLD_BIT = 1


def build_model(embodiment: Embodiment) -> mujoco.MjModel:
    """
    Return the compiled world of an embodiment, with its servos tuned.

    The bodies, joints and actuators of arm a are named 'a/<name in its URDF>', the blocks
    'block/<colour>'.

    :raises ConfigError: there is no `sim` block, or an arm's URDF does not fit it.
    """
    sim = embodiment.sim
    if sim is None:
        raise ConfigError(
            f"embodiment '{embodiment.robot}' has no 'sim' block: use one of config/*_sim.yaml"
        )
    spec = mujoco.MjSpec()
    spec.option.timestep = 1.0 / sim.physics_rate_hz
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.quality.offsamples = 0
    spec.stat.extent, spec.stat.center = 1.0, (0.4, 0.0, 0.0)
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 12.0
    _furnish(spec, sim)
    for index, name in enumerate(embodiment.arm_names):
        _attach(
            spec, name, embodiment.arms[name], sim.arms[name], index, len(embodiment.arm_names)
        )
    for name, camera in sim.cameras.items():
        tool = (
            f'{camera.mount}/{embodiment.arms[camera.mount].tool_frame}'
            if camera.mount
            else 'world'
        )
        spec.body(tool).add_camera(
            name=name,
            pos=camera.position_m,
            quat=look_at(camera.position_m, camera.target_m, camera.up),
            fovy=camera.fov_deg,
        )
    model = compile_world(spec, embodiment)
    _tune(model, embodiment)
    return model


def look_at(position: ArrayLike, target: ArrayLike, up: ArrayLike) -> NDArray[np.float64]:
    """
    Return the quaternion (4,) wxyz of a MuJoCo camera (-z forward, y up, x right).

    :param position: of the camera. :param target: the point at the centre of its image.
    :param up: a direction that points up in the image. All (3,), in one frame [m].
    """
    backward = np.subtract(position, target)
    backward = backward / np.linalg.norm(backward)
    right = np.cross(np.asarray(up, np.float64), backward)
    right /= np.linalg.norm(right)
    matrix = np.stack([right, np.cross(backward, right), backward], axis=1)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, matrix.ravel())
    return quaternion


def _furnish(spec: mujoco.MjSpec, sim: SimSettings) -> None:
    """Add the floor, the table, a light and the blocks."""
    world = spec.worldbody
    spec.add_texture(
        name='sky',
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.72, 0.76, 0.8),
        rgb2=(0.4, 0.44, 0.5),
        width=64,
        height=384,
    )
    world.add_light(
        name='lamp',
        pos=(0.5, 0.0, 2.0),
        dir=(0, 0, -1),
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
    )
    world.add_geom(
        name='floor', type=mujoco.mjtGeom.mjGEOM_PLANE, size=(5, 5, 1), pos=(0, 0, FLOOR_M)
    )
    low, high = np.array(sim.table_min_m), np.array(sim.table_max_m)
    _box(world, 'table', (*low, -TABLE_THICKNESS_M), (*high, 0.0))
    for colour in COLOURS:
        body = world.add_body(name=f'block/{colour}')
        body.add_freejoint(name=f'block/{colour}')
        half = np.full(3, sim.block_size_m / 2)
        block = _box(body, f'block/{colour}', -half, half)
        block.density, block.rgba = BLOCK_DENSITY_KG_M3, (*BLOCK_RGB[colour], 1)
        block.friction, block.condim = (1.0, 0.02, 0.001), 4
        block.solref[:2] = CONTACT


def _box(body: mujoco.MjsBody, name: str, low: ArrayLike, high: ArrayLike) -> mujoco.MjsGeom:
    middle, half = np.add(low, high) / 2, np.subtract(high, low) / 2
    return body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=middle, size=half)


def _attach(
    spec: mujoco.MjSpec, name: str, arm: ArmSettings, place: SimArmSettings, index: int, count: int
) -> None:
    """Add one arm, with gravity compensation and one actuator per joint."""
    robot = read_arm(name, arm, place)
    own = WORLD_BIT << (index + 1)
    others = sum(WORLD_BIT << (i + 1) for i in range(count) if i != index)
    for body in robot.bodies[1:]:
        body.gravcomp = 1.0
    shown = any(not _is_solid(geom) for geom in robot.geoms)  # else collision shapes are drawn
    for geom in robot.geoms:
        solid = _is_solid(geom)
        geom.group = 3 if solid and shown else 1
        geom.contype, geom.conaffinity = (own, WORLD_BIT | others) if solid else (0, 0)
        geom.friction = (1.5, 0.02, 0.001)
        geom.solref[:2] = CONTACT
    x, y, z = place.base_position_m
    half_yaw = place.base_yaw_rad / 2
    frame = spec.worldbody.add_frame(
        pos=(x, y, z), quat=(np.cos(half_yaw), 0, 0, np.sin(half_yaw))
    )
    if z > 0:
        _box(
            spec.worldbody, f'{name}/riser', (x - 0.09, y - 0.09, 0), (x + 0.09, y + 0.09, z)
        ).rgba = (0.3, 0.3, 0.32, 1)
    spec.attach(robot, prefix=f'{name}/', frame=frame)
    for joint in (*arm.joint_names, *place.finger_joints):
        spec.add_actuator(
            name=f'{name}/{joint}', target=f'{name}/{joint}', trntype=mujoco.mjtTrn.mjTRN_JOINT
        )


def _is_solid(geom: mujoco.MjsGeom) -> bool:
    """Tell whether a shape of a URDF is a collision shape, not a visual one."""
    return bool(geom.contype or geom.conaffinity) and geom.group == 0


def _tune(model: mujoco.MjModel, embodiment: Embodiment) -> None:
    """Turn the actuators into position servos, tuned at the home pose."""
    data = mujoco.MjData(model)
    for name in embodiment.arm_names:
        for joint, value in zip(
            embodiment.arms[name].joint_names, embodiment.arms[name].home_rad, strict=True
        ):
            data.joint(f'{name}/{joint}').qpos[0] = value
    mujoco.mj_forward(model, data)
    inertia = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia)
    for actuator in range(model.nu):
        joint = model.actuator_trnid[actuator, 0]
        dof = model.jnt_dofadr[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
            model.dof_armature[dof] = FINGER_ARMATURE_KG
            stiffness, mass = FINGER_STIFFNESS_N_M, FINGER_ARMATURE_KG + inertia[dof, dof]
            model.jnt_actfrclimited[joint] = 1
            model.jnt_actfrcrange[joint] = (-FINGER_FORCE_N, FINGER_FORCE_N)
        else:
            effort = model.jnt_actfrcrange[joint, 1]
            model.dof_armature[dof] = min(ROTOR_KG_M2, effort / LEAST_ACCELERATION_RAD_S2)
            mass = inertia[dof, dof] + model.dof_armature[dof]
            stiffness = mass * SERVO_RAD_S**2
        damping = 2 * np.sqrt(stiffness * mass)
        model.actuator_gaintype[actuator] = mujoco.mjtGain.mjGAIN_FIXED
        model.actuator_biastype[actuator] = mujoco.mjtBias.mjBIAS_AFFINE
        model.actuator_gainprm[actuator, 0] = stiffness
        model.actuator_biasprm[actuator, :3] = (0, -stiffness, -damping)
