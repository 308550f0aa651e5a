# SPDX-License-Identifier: Apache-2.0
"""Chunks of tool poses are refused when the joints that follow them would make links touch."""

from dataclasses import replace

from counts import FULL
import numpy as np
import pinocchio as pin
import pytest

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.control.collisions.chunks import ChunkCollisions
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.intake import Intake

PATHS, ANCHORS = 200 if FULL else 25, 30
# Beyond the clearance of 5 mm, because joints are found to a millimetre.
SURELY_CLEAR_M = 0.006


class Robot:
    """The arms of a robot that follows tool poses by inverse kinematics."""

    def __init__(self, name, **changes):
        known = {'limits.check_collisions': True} | changes
        self.embodiment = load_embodiment(shared_file('config', f'{name}_sim.yaml'), known)
        arms = self.embodiment.arms.values()
        self.kinematics = [arm_kinematics(arm) for arm in arms]
        self.home = [np.array(arm.home_rad) for arm in arms]

    def arms(self, joints, measured=True):
        """Return the tools of joints, (n,) [rad] per arm, with the joints where measured."""
        each = zip(self.kinematics, joints, strict=True)
        tools = [(*kinematics.forward(q), q if measured else None) for kinematics, q in each]
        return [ArmPose(position=p, quaternion=t, gripper=0.5, joints=q) for p, t, q in tools]

    def way(self, goals):
        """Return the straight way in joint space from home to goals: joints at each anchor."""
        shares = np.linspace(0, 1, ANCHORS + 1)
        pairs = list(zip(self.home, goals, strict=True))
        return [[a + share * (b - a) for a, b in pairs] for share in shares]

    def chunk(self, way, period_s=0.05):
        """Return the tools along a way as a chunk."""
        layout = self.embodiment.policy.rotation_6d_layout
        rows = np.array([pack(self.arms(joints), layout) for joints in way[1:]])
        return Chunk(stamp_ns=0, period_s=period_s, actions=rows, sequence=1)


def touches(check, joints, margin_m):
    """Tell whether links come nearer than a distance, pair by pair."""
    shapes = check._shapes
    before = [request.security_margin for request in shapes._shapes.collisionRequests]
    for request in shapes._shapes.collisionRequests:
        request.security_margin = margin_m
    model, geometry = shapes._model, shapes._geometry
    q = np.concatenate(joints)
    found = pin.computeCollisions(model, shapes._data, geometry, shapes._shapes, q, True)
    for request, margin in zip(shapes._shapes.collisionRequests, before, strict=True):
        request.security_margin = margin
    return found


@pytest.mark.parametrize('name', ['widowx', 'agilex', 'so101'])
def test_a_chunk_is_refused_if_and_only_if_its_joints_make_links_touch(name):
    robot, rng = Robot(name), np.random.default_rng(5)
    check, seen = ChunkCollisions(robot.embodiment), {True: 0, False: 0}
    for _ in range(PATHS):
        goals = [
            np.clip(home + rng.uniform(-1.2, 1.2, len(home)), k.lower, k.upper)
            for home, k in zip(robot.home, robot.kinematics, strict=True)
        ]
        way = robot.way(goals)
        links = check.touching(robot.chunk(way), robot.arms(way[0]))
        if any(touches(check, joints, 0.0) for joints in way):
            assert links, [np.concatenate(joints) for joints in way]
            seen[True] += 1
        elif not any(touches(check, joints, SURELY_CLEAR_M) for joints in way):
            assert not links
            seen[False] += 1
    assert min(seen.values()) > 0, f'one kind of way did not occur: {seen}'


def into_the_wall(robot):
    """Return a way along which the tool goes 12 cm forward from home, by inverse kinematics."""
    (kinematics,), (q,) = robot.kinematics, robot.home
    position, turn = kinematics.forward(q)
    way = [[q]]
    for share in np.linspace(0, 1, ANCHORS + 1)[1:]:
        goal = position + np.array([0.12 * share, 0.0, 0.0])
        way.append([kinematics.inverse(goal, turn, way[-1][0], restarts=0).q])
    return way


@pytest.fixture(scope='module')
def walled():
    """Return a WidowX whose tool is 6 cm from a wall at home."""
    x = float(Robot('widowx').arms(Robot('widowx').home)[0].position[0])
    low, high = [x + 0.06, -0.5, 0.0], [x + 0.2, 0.5, 1.0]
    return Robot('widowx', **{'scene.wall.min_m': low, 'scene.wall.max_m': high})


def test_a_chunk_into_a_wall_is_refused_by_its_link_before_it_enters_the_queue(walled):
    intake, way = Intake(walled.embodiment), into_the_wall(walled)
    verdict = intake.check(walled.chunk(way), walled.arms(way[0]))
    assert not verdict.accepted
    assert verdict.chunk is None
    assert verdict.reasons[0] == 'collision'
    assert "touches 'wall' at anchor" in verdict.message
    assert not intake.take(walled.chunk(way), verdict, wanted=True, now_ns=0).queued
    assert intake.rejection.code == 'collision'


def test_the_part_of_the_chunk_before_the_wall_is_accepted(walled):
    way = into_the_wall(walled)
    way = way[:6] + [way[5]] * (len(way) - 6)  # 2 cm
    chunk = walled.chunk(way)
    verdict = Intake(walled.embodiment).check(chunk, walled.arms(way[0]))
    assert verdict.accepted, verdict.message


def test_without_measured_joints_the_check_is_left_to_each_step(walled):
    way = into_the_wall(walled)
    verdict = Intake(walled.embodiment).check(
        walled.chunk(way), walled.arms(way[0], measured=False)
    )
    assert verdict.accepted, verdict.message


def test_what_cannot_be_reached_ends_the_check(walled):
    way = into_the_wall(walled)
    chunk, check = walled.chunk(way), ChunkCollisions(walled.embodiment)
    assert check.touching(chunk, walled.arms(way[0]))
    actions = chunk.actions.copy()
    actions[:, 2] += 5.0  # metres up
    assert not check.touching(replace(chunk, actions=actions), walled.arms(way[0]))


def test_the_check_is_off_where_it_is_not_wanted_or_the_gate_does_it():
    widowx = Robot('widowx', **{'limits.check_collisions': False})
    so101 = load_embodiment(shared_file('config', 'so101_sim.yaml'))
    assert so101.limits.check_collisions
    assert Intake(widowx.embodiment)._collisions is None
    assert Intake(so101)._collisions is None
