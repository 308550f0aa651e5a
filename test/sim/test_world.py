# SPDX-License-Identifier: Apache-2.0
"""The simulated cell: repeatability, limits, kinematics, and scenes that the expert solves."""

from dataclasses import replace
import itertools
import re

import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.expert import Expert
from xvla_ros.sim.scenes import EVALUATE, sample_scene, TRAIN
from xvla_ros.sim.world import World

ROBOTS = ('franka', 'widowx', 'agilex')
PERIOD_S = 0.1
# How far each joint may move from home without a collision, as a share of 0.5 rad.
REACH = np.array([1, 0.2, 0.2, 1, 1, 1, 1])


@pytest.fixture(scope='module', params=ROBOTS)
def world(request):
    world = World(load_embodiment(shared_file('config', f'{request.param}_sim.yaml')))
    yield world
    world.close()


def follow(world, expert, scene, lift, executed=5):
    """Execute the first steps of the expert's plan and return the named block's position."""
    names = world.embodiment.arm_names
    tools = [world.tool_pose(name) for name in names]
    plans = expert.plan(tools, scene, world.block_in_base(scene.arm, scene.colour), lift=lift)
    for step in range(executed):
        for name, plan in zip(names, plans, strict=True):
            world.set_tool_target(name, plan.positions[step], plan.quaternions[step])
            world.set_gripper(name, plan.openings[step])
        world.step(PERIOD_S)
    return world.block_positions()[scene.colour]


def is_above_block(world, scene):
    offset = world.tool_pose(scene.arm).position - world.block_in_base(scene.arm, scene.colour)
    return np.linalg.norm(offset[:2]) <= 0.03 and 0 < offset[2] < 0.15


def test_arms_start_at_home_and_stay_there(world):
    world.reset(sample_scene(world.embodiment, TRAIN, 0, 0))
    world.step(1.0)
    assert world.time_s == pytest.approx(1.0)
    for name, arm in world.embodiment.arms.items():
        np.testing.assert_allclose(world.joint_positions(name), arm.home_rad, atol=2e-3)
        assert world.tool_pose(name).gripper == pytest.approx(1.0, abs=0.02)


def test_blocks_rest_where_the_scene_put_them(world):
    scene = sample_scene(world.embodiment, TRAIN, 0, 1)
    world.reset(scene)
    world.step(1.0)
    for block in scene.blocks:
        height = world.embodiment.sim.block_size_m / 2
        position = world.block_positions()[block.colour]
        np.testing.assert_allclose(position, (block.x_m, block.y_m, height), atol=1e-3)


def test_mujoco_and_pinocchio_agree_on_the_tool(world):
    rng = np.random.default_rng(0)
    for name, arm in world.embodiment.arms.items():
        kinematics = world.arms[name].kinematics
        for q in rng.uniform(kinematics.lower, kinematics.upper, (20, len(kinematics.lower))):
            world.place_arm(name, q)
            body = world.body_in_base(name, arm.tool_frame)
            np.testing.assert_allclose(world.tool_pose(name).position, body, atol=1e-6)


def test_the_same_scene_and_targets_give_the_same_motion_and_images(world):
    expert = Expert(world.embodiment)
    scene = sample_scene(world.embodiment, TRAIN, 7, 3)
    runs = []
    for _ in range(2):
        world.reset(scene)
        for _ in range(3):
            follow(world, expert, scene, lift=True)
        states = [world.joint_positions(name) for name in world.embodiment.arm_names]
        image = world.render(world.embodiment.camera_names[0], 96, 96)
        runs.append((np.concatenate(states), world.block_positions(), image))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    for colour, place in runs[0][1].items():
        np.testing.assert_array_equal(place, runs[1][1][colour])
    np.testing.assert_array_equal(runs[0][2], runs[1][2])


def test_the_expert_reaches_the_named_block_in_every_scene(world):
    expert = Expert(world.embodiment)
    for episode in range(20):
        scene = sample_scene(world.embodiment, EVALUATE, 11, episode)
        world.reset(scene)
        while world.time_s < 6.0 and not is_above_block(world, scene):
            follow(world, expert, scene, lift=False)
        follow(world, expert, scene, lift=False)
        assert is_above_block(world, scene), f'episode {episode}: {scene.instruction}'
        for name in world.embodiment.arm_names:
            if name != scene.arm:
                home = world.embodiment.arms[name].home_rad
                np.testing.assert_allclose(world.joint_positions(name), home, atol=0.02)


def test_speeds_stay_within_limits_when_targets_jump(world):
    rng = np.random.default_rng(5)
    world.reset(sample_scene(world.embodiment, TRAIN, 0, 2))
    homes = {name: world.tool_pose(name) for name in world.embodiment.arm_names}
    for _ in range(60):
        for name, home in homes.items():
            around = np.array(world.embodiment.arms[name].home_rad)
            if rng.random() < 0.5:
                target = around + rng.uniform(-0.5, 0.5, len(around)) * REACH[: len(around)]
                world.set_joint_targets(name, target)
            else:
                shift = rng.uniform((0, -0.08, 0), (0.08, 0.08, 0.08))
                world.set_tool_target(name, home.position + shift, home.quaternion)
            world.set_gripper(name, rng.uniform(-1, 2))
        for _ in range(10):
            world.step(0.01)
            for name in homes:
                limit = world.arms[name].kinematics.velocity_limit
                assert (np.abs(world.joint_velocities(name)) <= 1.05 * limit).all()


def test_joints_stop_at_their_limits(world):
    name = world.embodiment.arm_names[0]
    kinematics = world.arms[name].kinematics
    world.reset(sample_scene(world.embodiment, TRAIN, 0, 2))
    last = len(kinematics.lower) - 1
    for target, limit in ((100.0, kinematics.upper), (-100.0, kinematics.lower)):
        joints = np.array(world.embodiment.arms[name].home_rad)
        joints[last] = target
        world.set_joint_targets(name, joints)
        world.step(4.0)
        assert world.joint_positions(name)[last] == pytest.approx(limit[last], abs=0.005)


def test_looks_differ_between_scenes_and_every_block_is_in_the_main_image(world):
    main = world.embodiment.camera_names[0]
    images = []
    for episode in range(12):
        scene = sample_scene(world.embodiment, TRAIN, 0, episode)
        world.reset(scene)
        image = world.render(main, 96, 96).astype(int)
        images.append(image)
        for channel, colour in enumerate(('red', 'green', 'blue')):
            others = [c for c in range(3) if c != channel]
            excess = image[..., channel] - image[..., others].max(axis=-1)
            assert (excess > 40).sum() >= 8, f'{colour} block hidden in episode {episode}'
    assert all(np.abs(a - b).mean() > 1 for a, b in itertools.pairwise(images))


def without_inertials(text):
    return re.sub(r'<(inertial|visual|collision)>.*?</\1>', '', text)


@pytest.mark.parametrize(
    ('change', 'keys', 'words'),
    [
        (without_inertials, {}, r"'link1'.*\(a link that moves needs an <inertial>"),
        (lambda t: t.replace('effort="10"', 'effort="0"'), {}, "'joint7' .* effort limit of 0"),
        (lambda t: t.replace('velocity="3.14', 'velocity="0" x="'), {}, 'velocity limit of 0'),
        (lambda t: t.replace('<box size="', '<mesh filename="x.stl" scale="'), {}, 'x.stl'),
        (str, {'base_frame': 'link1'}, r"root is the link 'base_link'.*arms\.left\.base_frame"),
        (str, {'tool_frame': 'hand'}, r"no link 'hand' \('arms\.left\.tool_frame'\).*link6"),
    ],
)  # fmt: skip
def test_a_robot_description_that_cannot_be_simulated_is_refused_in_one_line(
    tmp_path, change, keys, words
):
    robot = load_embodiment(shared_file('config', 'agilex_sim.yaml'))
    text = shared_file('resource', robot.arms['left'].urdf).read_text()
    urdf = tmp_path / 'robot.urdf'
    urdf.write_text(change(text))
    arms = {**robot.arms, 'left': replace(robot.arms['left'], urdf=str(urdf), **keys)}
    with pytest.raises(ConfigError, match=words) as raised:
        World(replace(robot, arms=arms))
    assert str(raised.value).startswith(str(urdf))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('finger', ['joint9', 'joint1'])  # unknown; a joint of the arm
def test_wrong_finger_joints_are_refused_and_their_key_is_named(finger):
    robot = load_embodiment(shared_file('config', 'agilex_sim.yaml'))
    place = replace(robot.sim.arms['right'], finger_joints=('joint7', finger))
    sim = replace(robot.sim, arms={**robot.sim.arms, 'right': place})
    with pytest.raises(ConfigError, match=rf'piper\.urdf: .*{finger}') as raised:
        World(replace(robot, sim=sim))
    assert 'sim.arms.right.finger_joints' in str(raised.value)


def visible_shapes(tmp_path, change):
    """Return how many shapes of a UR5e are drawn after a change of its URDF."""
    robot = load_embodiment(shared_file('config', 'ur5e_sim.yaml'))
    urdf = tmp_path / 'robot.urdf'
    urdf.write_text(change(shared_file('resource', robot.arms['arm'].urdf).read_text()))
    world = World(replace(robot, arms={'arm': replace(robot.arms['arm'], urdf=str(urdf))}))
    world.reset(sample_scene(robot, TRAIN, 0, 0))
    return int((world._model.geom_group == 1).sum())


def test_an_arm_is_visible_without_mujoco_options_and_without_visual_shapes(tmp_path):
    shown = visible_shapes(tmp_path, str)
    assert shown > 10
    assert visible_shapes(tmp_path, lambda text: re.sub('<mujoco>.*</mujoco>', '', text)) == shown
    assert visible_shapes(tmp_path, lambda text: re.sub('<visual>.*</visual>', '', text)) > 10


def test_an_unstable_simulation_raises_an_error_instead_of_resetting(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a file there
    scene = sample_scene(world.embodiment, TRAIN, 0, 0)
    world.reset(scene)
    world._data.qvel[0] = 1e12
    with pytest.raises(ConfigError, match=r"simulation of '\w+' became unstable after 0\.\d\d s"):
        world.step(0.01)
    world.reset(scene)
    world.step(0.01)


def test_an_unknown_camera_is_named(world):
    with pytest.raises(ConfigError, match="no simulated camera 'ceiling': expected one of main"):
        world.render('ceiling', 64, 64)


def test_joint_targets_of_the_wrong_shape_are_refused(world):
    with pytest.raises(ValueError, match='finite radians'):
        world.set_joint_targets(world.embodiment.arm_names[0], [0.0])
