# SPDX-License-Identifier: Apache-2.0
"""Blocks can be grasped and lifted: by the expert, on every robot, judged by where they are."""

from counts import FULL
import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.expert import Expert
from xvla_ros.sim.lifting import LiftJudge
from xvla_ros.sim.scenes import BIMANUAL, EVALUATE, PICK, sample_scene
from xvla_ros.sim.world import World

ROBOTS = ('franka', 'widowx', 'agilex')
LIMIT_S = 10.0
# Of each plan so many anchors are executed, after so many that come too late, as in serving.
EXECUTED, LATE = 2, 1


@pytest.fixture(scope='module', params=ROBOTS)
def world(request):
    world = World(load_embodiment(shared_file('config', f'{request.param}_sim.yaml')))
    yield world
    world.close()


def lifts_of(world, scene):
    """Have the expert pick up what the scene names, and return what was lifted and picked up."""
    expert, judge = Expert(world.embodiment), LiftJudge()
    world.reset(scene)
    lifts = judge.lifts
    while world.time_s < LIMIT_S and not lifts.done(scene):
        tools = [world.tool_pose(name) for name in world.embodiment.arm_names]
        blocks = {a: world.block_in_base(a, colour) for a, colour in scene.picks.items()}
        plans = expert.plan(tools, scene, blocks.pop(scene.arm), lift=True, also=blocks)
        for step in range(LATE, LATE + EXECUTED):
            for name, plan in zip(world.embodiment.arm_names, plans, strict=True):
                world.set_tool_target(name, plan.positions[step], plan.quaternions[step])
                world.set_gripper(name, plan.openings[step])
            world.step(0.1)
            lifts = judge.look(world.time_s, world.tool_positions(), world.block_positions())
    return lifts


def test_the_expert_lifts_the_named_block_in_every_scene(world):
    for episode in range(20 if FULL else 4):
        scene = sample_scene(world.embodiment, EVALUATE, 12, episode)
        lifts = lifts_of(world, scene)
        assert lifts.lifted == lifts.picked == {scene.colour}, f'episode {episode}'


@pytest.mark.parametrize('world', ['agilex'], indirect=True)
def test_two_arms_lift_a_block_each(world):
    for episode in range(12 if FULL else 3):
        scene = sample_scene(world.embodiment, EVALUATE, 12, episode, BIMANUAL)
        assert set(scene.picks) == set(world.embodiment.arm_names)
        assert lifts_of(world, scene).lifted == set(scene.picks.values()), f'episode {episode}'


def test_a_held_block_is_as_wide_as_it_is(world):
    """Fingers do not sink into a block; one that is held askew is a little wider."""
    scene = sample_scene(world.embodiment, EVALUATE, 12, 0)
    lifts_of(world, scene)
    place = world.embodiment.sim.arms[scene.arm]
    travel = np.abs(np.subtract(place.finger_open_m, place.finger_closed_m)).sum()
    gap = (place.gap_open_m or travel) - travel * (1 - world.tool_pose(scene.arm).gripper)
    assert gap == pytest.approx(world.embodiment.sim.block_size_m, abs=0.0025)


def test_a_task_for_two_arms_needs_two_arms_and_a_known_name():
    franka = load_embodiment(shared_file('config', 'franka_sim.yaml'))
    with pytest.raises(ConfigError, match='needs two arms'):
        sample_scene(franka, EVALUATE, 0, 0, BIMANUAL)
    with pytest.raises(ConfigError, match='no task'):
        sample_scene(franka, EVALUATE, 0, 0, 'juggle')


def test_colours_and_arms_of_the_two_arm_task_change():
    agilex = load_embodiment(shared_file('config', 'agilex_sim.yaml'))
    scenes = [sample_scene(agilex, EVALUATE, 0, n, BIMANUAL) for n in range(12)]
    assert {scene.arm for scene in scenes} == {'left', 'right'}
    assert len({scene.instruction for scene in scenes}) == 6
    assert scenes[0].instruction == 'pick up the red and the green block'
    for scene in scenes:
        sides = {b.colour: 'left' if b.y_m > 0 else 'right' for b in scene.blocks}
        assert all(sides[colour] == arm for arm, colour in scene.picks.items())
    assert sample_scene(agilex, EVALUATE, 0, 0, PICK).picks == {'left': 'red'}


def judged(*looks):
    """Return the verdict after looks: time, height of the block, distance of the tool from it."""
    judge = LiftJudge()
    for time_s, height_m, apart_m in ((-0.1, 0.02, 0.1), *looks):
        block = np.array([0.4, 0.0, height_m])
        judge.look(time_s, {'arm': block + np.array([apart_m, 0.0, 0.0])}, {'red': block})
    return judge.lifts


def test_a_block_is_lifted_after_it_was_held_up_for_a_second():
    assert judged((0.0, 0.11, 0.0), (0.5, 0.12, 0.01), (1.0, 0.11, 0.0)).lifted == {'red'}


@pytest.mark.parametrize(
    'looks',
    [
        [(0.0, 0.11, 0.0), (0.9, 0.11, 0.0)],  # too short
        [(0.0, 0.09, 0.0), (2.0, 0.09, 0.0)],  # too low
        [(0.0, 0.11, 0.2), (2.0, 0.11, 0.2)],  # on something, no tool there
        [(0.0, 0.11, 0.0), (0.6, 0.02, 0.0), (0.7, 0.11, 0.0), (1.4, 0.11, 0.0)],  # dropped
    ],
)
def test_a_block_is_not_lifted_otherwise(looks):
    assert not judged(*looks).lifted


def test_a_block_that_was_raised_and_dropped_was_picked_up():
    assert judged((0.0, 0.06, 0.0), (0.1, 0.02, 0.0)).picked == {'red'}
    assert not judged((0.0, 0.04, 0.0)).picked
