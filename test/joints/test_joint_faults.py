# SPDX-License-Identifier: Apache-2.0
"""
Faults of a joint-space policy or of its table: no unsafe command, and the joint is named.

The policy is right about the robot; the table that the robot reads has the fault, or the answer.
Answers go the way of a live one: table, chunk gate, queue, step gate.
"""

from joint_robots import FILES, joint_robot, JointRobot, joints
import numpy as np
import pytest

from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.core.safety import SafetyGate

ROBOTS = tuple(FILES)
COUNT, MS, DT_S = 12, 1_000_000, 0.02


def answers(robot, way):
    """Return a right answer (T, width): from where the robot is, along a way [rad]."""
    path = robot.start + np.linspace(0, 1, COUNT)[:, None] * way
    return JointProfile(robot.embodiment).raw(robot.chunk(path))


def begin(name):
    """Return a robot that stands away from zero, so that no fault is hidden by it."""
    robot = joint_robot(name)
    n = len(robot.home) // len(robot.counts)
    bend = np.tile(np.array([0.5, 0.15, -0.12, 0.1, 0.45, 0.1, 0.3])[:n], len(robot.counts))
    robot.start = robot.home + bend
    assert not robot.model.collision(robot.start)
    return robot


def swapped(table, one, other):
    """Return what gives two joints each other's place in the checkpoint's vectors."""
    return {
        f'{table[one][0]}.model_index': table[other][1].model_index,
        f'{table[other][0]}.model_index': table[one][1].model_index,
    }


def table_of(robot):
    """Return (path, settings) of every joint by its name, of the first arm."""
    name = robot.embodiment.arm_names[0]
    entries = robot.embodiment.arms[name].joints.items()
    return {j.ros_name: (f'arms.{name}.joints.{label}', j) for label, j in entries}


def faults(robot):
    """Return by the fault's name: changes of the table, and the joints that are wrong by it."""
    table = table_of(robot)
    names = list(table)
    path, joint = table[names[0]]
    unit = {f'{p}.unit': '' for p, _ in table.values()}
    other_scale = np.pi / 180 if joint.scale > 10 else 180 / np.pi
    wrong_unit = {f'{p}.scale': j.scale * other_scale for p, j in table.values()}
    return {
        'wrong unit': (unit | wrong_unit, names),
        'flipped sign': ({f'{path}.unit': '', f'{path}.scale': -joint.scale}, names[:1]),
        'swapped joints': (swapped(table, names[0], names[3]), [names[0], names[3]]),
        'wrong zero': ({f'{path}.offset': joint.offset + 0.8 * joint.scale}, names[:1]),
        'stale calibration': (stale(table, names[1], names[2]), names[1:3]),
    }


def stale(table, lift, elbow):
    """
    Return the table of a calibration from before LeRobot's change of 2025.

    Two zeros were 90 degrees off, and one of the two joints turned the other way.
    """
    (path, one), (other_path, other) = table[lift], table[elbow]
    return {
        f'{path}.unit': '',
        f'{path}.scale': -one.scale,
        f'{path}.offset': one.offset + np.pi / 2 * one.scale,
        f'{other_path}.offset': other.offset + np.pi / 2 * other.scale,
    }


FAULTS = ('wrong unit', 'flipped sign', 'swapped joints', 'wrong zero', 'stale calibration')


def drive(robot, gate, chunk, verdict):
    """Give the steps of a chunk to the gate; return every command that left."""
    queue, now_ns, left = ChunkQueue(space=robot.space), 1000 * MS, []
    measured = robot.arms(robot.start)
    queue.engage(measured, now_ns)
    if verdict.accepted:
        queue.put(verdict.chunk, now_ns)
    for _ in range(60):
        now_ns += 20 * MS
        targets = queue.take(now_ns)
        step = targets and gate.check_step(targets, measured, DT_S)
        if not step or step.targets is None:
            break
        left.append(joints(step.targets))
    return left


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('name', ROBOTS)
def test_a_table_with_a_fault_moves_nothing_and_names_the_joint(name, fault):
    robot = begin(name)
    changes, culprits = faults(robot)[fault]
    wrong = JointRobot(name, **changes)
    wrong.start = robot.start
    gate = SafetyGate(wrong.embodiment, wrong.model)
    chunk = JointProfile(wrong.embodiment).chunk(answers(robot, 0.1), 1000 * MS)
    verdict = gate.check(chunk, wrong.arms(robot.start))
    assert not verdict.accepted
    assert any(f"joint '{joint}'" in verdict.message for joint in culprits), verdict.message
    assert not drive(wrong, gate, chunk, verdict)


@pytest.mark.parametrize('name', ROBOTS)
def test_radians_for_degrees_and_degrees_for_radians_name_the_joint(name):
    robot = begin(name)
    gate, profile = SafetyGate(robot.embodiment, robot.model), JointProfile(robot.embodiment)
    scale = profile._maps[0].scale[0]
    raw, arms = answers(robot, 0.1), robot.embodiment.arms.values()
    columns = [joint.model_index for arm in arms for joint in arm.joint_table]  # not the grippers'
    raw[:, columns] *= np.pi / 180 if scale > 10 else 180 / np.pi
    verdict = gate.check(profile.chunk(raw, 0), robot.arms(robot.start))
    assert not verdict.accepted
    assert any(f"joint '{joint}'" in verdict.message for joint in robot.model.bounds.names)


@pytest.mark.parametrize('name', ROBOTS)
def test_a_jump_is_refused_by_the_joints_name(name):
    robot = begin(name)
    gate = SafetyGate(robot.embodiment, robot.model)
    path = np.tile(robot.start, (COUNT, 1))
    path[COUNT // 2 :, 1] += 0.9
    verdict = gate.check(robot.chunk(path), robot.arms(robot.start))
    assert not verdict.accepted
    assert f"joint '{robot.model.bounds.names[1]}'" in verdict.message
    start = path[0].copy()
    start[2] += 0.6
    verdict = gate.check(robot.chunk(np.tile(start, (COUNT, 1))), robot.arms(robot.start))
    assert verdict.reasons == ('first_step',)
    assert f"joint '{robot.model.bounds.names[2]}'" in verdict.message


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_by_the_joints_name(value):
    robot = begin('so101')
    path = np.tile(robot.start, (COUNT, 1))
    path[3, 2] = value
    gate = SafetyGate(robot.embodiment, robot.model)
    verdict = gate.check(robot.chunk(path), robot.arms(robot.start))
    assert verdict.message == "joint 'elbow_flex', anchor 3: a value is not finite"


def colliding(robot, rng):
    """Return a posture in which links touch and no limit is broken, and what touches."""
    bounds = robot.model.bounds
    while True:
        q = rng.uniform(bounds.lower, bounds.upper)
        if links := robot.model.collision(q):
            return q, links


@pytest.mark.parametrize('name', FILES)
def test_a_course_into_a_collision_is_refused_by_the_links(name):
    everywhere = {'workspace_min_m': [-2.0] * 3, 'workspace_max_m': [2.0] * 3}
    arms = joint_robot(name).embodiment.arm_names
    changes = {f'arms.{arm}.{key}': v for arm in arms for key, v in everywhere.items()}
    robot = JointRobot(name, **changes, **{'limits.min_arm_distance_m': 0.0})
    rng = np.random.default_rng(3)
    for _ in range(10):
        goal, _ = colliding(robot, rng)
        path = robot.home + np.linspace(0, 1, 60)[:, None] * (goal - robot.home)
        gate = SafetyGate(robot.embodiment, robot.model)
        chunk = robot.chunk(path, period_s=0.1)
        verdict = gate.check(chunk, robot.arms(robot.home))
        assert verdict.reasons[-1] == 'collision', verdict.message
        assert 'touch' in verdict.message
        assert not verdict.accepted
        here = robot.arms(robot.home)
        for q in path:  # and step by step, when no chunk gate was asked
            for _ in range(3):
                step = gate.check_step(robot.arms(q), here, 0.05)
                if step.targets is not None:
                    assert not robot.model.collision(joints(step.targets))
        assert 'collision' in gate.counts
