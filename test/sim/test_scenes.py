# SPDX-License-Identifier: Apache-2.0
"""Scenes: the same numbers give the same scene, blocks lie apart, purposes share no scene."""

import itertools

import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.scenes import (
    COLOURS,
    EVALUATE,
    LEAST_SPACING,
    PURPOSES,
    sample_scene,
    TRAIN,
    VALIDATE,
)

ROBOTS = ('franka', 'widowx', 'agilex')


@pytest.fixture(scope='module', params=ROBOTS)
def embodiment(request):
    return load_embodiment(shared_file('config', f'{request.param}_sim.yaml'))


def layout(scene):
    return tuple((block.x_m, block.y_m, block.yaw_rad) for block in scene.blocks)


def test_the_same_numbers_give_the_same_scene(embodiment):
    assert sample_scene(embodiment, TRAIN, 3, 5) == sample_scene(embodiment, TRAIN, 3, 5)


def test_scenes_of_different_purposes_seeds_and_robots_never_coincide():
    seen = set()
    for robot in ROBOTS:
        one = load_embodiment(shared_file('config', f'{robot}_sim.yaml'))
        for purpose, seed, episode in itertools.product(PURPOSES, range(3), range(30)):
            seen.add(layout(sample_scene(one, purpose, seed, episode)))
    assert len(seen) == len(ROBOTS) * len(PURPOSES) * 3 * 30


def test_blocks_lie_apart_and_the_named_one_on_its_arms_side(embodiment):
    for episode in range(200):
        scene = sample_scene(embodiment, EVALUATE, 0, episode)
        places = {b.colour: np.array([b.x_m, b.y_m]) for b in scene.blocks}
        assert set(places) == set(COLOURS)
        for a, b in itertools.combinations(places.values(), 2):
            assert np.linalg.norm(a - b) >= LEAST_SPACING * embodiment.sim.block_size_m
        arm = embodiment.sim.arms[scene.arm]
        local = places[scene.colour] - arm.base_position_m[:2]
        assert (local >= arm.block_min_m).all()
        assert (local <= arm.block_max_m).all()
        assert scene.instruction == f'pick up the {scene.colour} block'


def test_colours_and_arms_take_turns(embodiment):
    count = len(COLOURS) * len(embodiment.arm_names)
    scenes = [sample_scene(embodiment, VALIDATE, 0, episode) for episode in range(count)]
    assert len({(scene.colour, scene.arm) for scene in scenes}) == count


def test_an_unknown_purpose_is_refused(embodiment):
    with pytest.raises(ConfigError, match='purpose 9'):
        sample_scene(embodiment, 9, 0, 0)
