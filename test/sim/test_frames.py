# SPDX-License-Identifier: Apache-2.0
"""Frames and intrinsics of the simulation say where things are seen, as ROS tools expect it."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.frames import intrinsics, optical_frame, WORLD_FRAME
from xvla_ros.sim.scenes import EVALUATE, sample_scene
from xvla_ros.sim.world import World

SIZE = (320, 240)


@pytest.fixture(scope='module', params=['franka', 'widowx', 'agilex', 'ur5e'])
def world(request):
    world = World(load_embodiment(shared_file('config', f'{request.param}_sim.yaml')))
    world.reset(sample_scene(world.embodiment, EVALUATE, 0, 2))
    for name, arm in world.embodiment.arms.items():
        world.place_arm(name, np.array(arm.home_rad) + 0.05, 0.5)
    yield world
    world.close()


def in_world(world):
    """Return rotation and origin of every frame in the world, put together from the transforms."""
    known = {WORLD_FRAME: (Rotation.identity(), np.zeros(3))}
    waiting = [*world.frames.fixed(), *world.frames.moving()]
    assert len({p.child for p in waiting}) == len(waiting), 'a frame has two parents'
    while waiting:
        ready = [placement for placement in waiting if placement.parent in known]
        assert ready, f'not connected to the world: {[p.child for p in waiting]}'
        for placement in ready:
            turn, origin = known[placement.parent]
            own = turn * Rotation.from_quat(placement.quaternion)
            known[placement.child] = own, origin + turn.apply(placement.position)
        waiting = [placement for placement in waiting if placement not in ready]
    return known


def test_the_tool_is_where_the_kinematics_say(world):
    frames = in_world(world)
    for name, arm in world.embodiment.arms.items():
        prefix = world.embodiment.frame_prefix(name)
        turn, origin = frames[f'{prefix}{arm.base_frame}']
        there, position = frames[f'{prefix}{arm.tool_frame}']
        kinematics = Kinematics(shared_file('resource', arm.urdf), arm.tool_frame, arm.joint_names)
        expected, quaternion = kinematics.forward(world.joint_positions(name))
        np.testing.assert_allclose(turn.inv().apply(position - origin), expected, atol=1e-6)
        assert (Rotation.from_quat(quaternion).inv() * turn.inv() * there).magnitude() < 1e-6


def test_only_what_is_behind_a_joint_moves(world):
    fixed = world.frames.fixed()
    for name, arm in world.embodiment.arms.items():
        world.place_arm(name, np.array(arm.home_rad) - 0.1, 1.0)
    for before, after in zip(fixed, world.frames.fixed(), strict=True):
        np.testing.assert_allclose(before.position, after.position, atol=1e-9)
        np.testing.assert_allclose(before.quaternion, after.quaternion, atol=1e-9)


def pixels(world, camera, points):
    """Return where points (n, 3) of the world are in an image, by TF and camera_info alone."""
    turn, origin = in_world(world)[optical_frame(camera)]
    matrix = intrinsics(world.embodiment.sim.cameras[camera].fov_deg, *SIZE)
    seen = turn.inv().apply(points - origin) @ matrix.T
    assert (seen[:, 2] > 0).all(), 'behind the camera'
    return seen[:, :2] / seen[:, 2:]


def test_a_block_is_drawn_where_its_point_is_projected(world):
    """The image's own pixels: the middle of a block's colour is where its centre projects to."""
    blocks = world.block_positions()
    ((x, y),) = pixels(world, 'demo', blocks['red'][None])
    image = world.render('demo', *SIZE).astype(int)
    red = image[..., 0] - image[..., 1:].max(axis=-1) > 60
    rows, columns = np.nonzero(red)
    assert len(rows) > 20
    half_px = 0.5 * np.sqrt(len(rows))  # about half a block's edge in the image
    assert abs(np.median(columns) - x) < half_px
    assert abs(np.median(rows) - y) < half_px


def test_points_are_projected_as_the_renderer_does(world):
    points = np.array(list(world.block_positions().values()))
    for camera in world.embodiment.sim.cameras:
        if world.embodiment.sim.cameras[camera].mount:
            continue
        square = (SIZE[1], SIZE[1])
        turn, origin = in_world(world)[optical_frame(camera)]
        matrix = intrinsics(world.embodiment.sim.cameras[camera].fov_deg, *square)
        seen = turn.inv().apply(points - origin) @ matrix.T
        shares = (seen[:, :2] / seen[:, 2:] + 0.5) / square
        np.testing.assert_allclose(shares, world.project(camera, points), atol=1e-6)


def test_a_camera_on_a_tool_moves_with_it(world):
    for name, camera in world.embodiment.sim.cameras.items():
        if camera.mount:
            arm = world.embodiment.arms[camera.mount]
            (placement,) = (p for p in world.frames.moving() if p.child == optical_frame(name))
            prefix = world.embodiment.frame_prefix(camera.mount)
            assert placement.parent == f'{prefix}{arm.tool_frame}'
            assert np.linalg.norm(placement.position - camera.position_m) < 0.02
