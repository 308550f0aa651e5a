# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics against published closed forms, and what inverse kinematics promises."""

import re

from counts import FULL
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

ROBOTS = ('franka', 'widowx', 'agilex')
POSES = 10_000 if FULL else 400
SAMPLES = 1000 if FULL else 200


def arm_of(robot):
    embodiment = load_embodiment(shared_file('config', f'{robot}_sim.yaml'))
    return embodiment.arms[embodiment.arm_names[0]]


def kinematics_of(robot):
    arm = arm_of(robot)
    urdf = shared_file('resource', arm.urdf)
    return Kinematics(urdf, arm.tool_frame, arm.joint_names, posture=arm.home_rad)


STEPPED = {robot: kinematics_of(robot) for robot in ROBOTS}


@pytest.fixture(scope='module', params=ROBOTS)
def kinematics(request):
    return kinematics_of(request.param)


def transform(rotation=None, translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if rotation is None else rotation.as_matrix()
    matrix[:3, 3] = translation
    return matrix


def franka_closed_form(q):
    """Franka's control interface documentation, Denavit-Hartenberg parameters (Craig's)."""
    table = [  # a, d, alpha
        (0, 0.333, 0), (0, 0, -np.pi / 2), (0, 0.316, np.pi / 2), (0.0825, 0, np.pi / 2),
        (-0.0825, 0.384, -np.pi / 2), (0, 0, np.pi / 2), (0.088, 0, np.pi / 2), (0, 0.107, 0),
    ]  # fmt: skip
    matrix = np.eye(4)
    for (a, d, alpha), theta in zip(table, (*q, 0.0), strict=True):
        matrix = matrix @ transform(Rotation.from_euler('x', alpha), (a, 0, 0))
        matrix = matrix @ transform(Rotation.from_euler('z', theta), (0, 0, d))
    return matrix @ transform(Rotation.from_euler('z', -np.pi / 4), (0, 0, 0.1034))


def widowx_closed_form(q):
    """Interbotix's product of exponentials: screw axes and home of wx250s (mr_descriptions)."""
    screws = np.array([
        [0, 0, 1, 0, 0, 0], [0, 1, 0, -0.11065, 0, 0], [0, 1, 0, -0.36065, 0, 0.04975],
        [1, 0, 0, 0, 0.36065, 0], [0, 1, 0, -0.36065, 0, 0.29975], [1, 0, 0, 0, 0.36065, 0],
    ])  # fmt: skip
    matrix = np.eye(4)
    for (wx, wy, wz, *v), theta in zip(screws, q, strict=True):
        twist = np.zeros((4, 4))
        twist[:3, :3] = [[0, -wz, wy], [wz, 0, -wx], [-wy, wx, 0]]
        twist[:3, 3] = v
        matrix = matrix @ expm(twist * theta)
    tool_in_gripper = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]])  # z out of the gripper
    home = transform(Rotation.from_matrix(tool_in_gripper), (0.458325, 0, 0.36065))
    return matrix @ home


def piper_closed_form(q):
    """AgileX's piper_sdk: standard Denavit-Hartenberg table, with its later joint offsets."""
    table = [  # theta offset [deg], d, a, alpha
        (0, 0.123, 0, -np.pi / 2), (-172.22, 0, 0.28503, 0), (-102.78, 0, -0.02198, np.pi / 2),
        (0, 0.25075, 0, -np.pi / 2), (0, 0, 0, np.pi / 2), (0, 0.091, 0, 0),
    ]  # fmt: skip
    matrix = np.eye(4)
    for (offset, d, a, alpha), joint in zip(table, q, strict=True):
        matrix = matrix @ transform(
            Rotation.from_euler('z', joint + np.radians(offset)), (0, 0, d)
        )
        matrix = matrix @ transform(Rotation.from_euler('x', alpha), (a, 0, 0))
    return matrix @ transform(Rotation.from_euler('z', np.pi), (0, 0, 0.1658))


@pytest.mark.parametrize(
    ('robot', 'closed_form'),
    [
        ('franka', franka_closed_form),
        ('widowx', widowx_closed_form),
        ('agilex', piper_closed_form),
    ],
)
def test_forward_agrees_with_the_published_closed_form(robot, closed_form):
    kinematics = kinematics_of(robot)
    rng = np.random.default_rng(0)
    for q in rng.uniform(kinematics.lower, kinematics.upper, (SAMPLES, len(kinematics.lower))):
        position, quaternion = kinematics.forward(q)
        expected = closed_form(q)
        np.testing.assert_allclose(position, expected[:3, 3], atol=1e-6)
        matrix = Rotation.from_quat(quaternion).as_matrix()
        np.testing.assert_allclose(matrix, expected[:3, :3], atol=1e-6)


def test_jacobian_is_the_derivative_of_forward(kinematics):
    rng = np.random.default_rng(1)
    step = 1e-6
    for q in rng.uniform(kinematics.lower, kinematics.upper, (20, len(kinematics.lower))):
        jacobian = kinematics.jacobian(q)
        for joint in range(len(q)):
            low, high = q.copy(), q.copy()
            low[joint] -= step
            high[joint] += step
            (p0, r0), (p1, r1) = kinematics.forward(low), kinematics.forward(high)
            turn = (Rotation.from_quat(r1) * Rotation.from_quat(r0).inv()).as_rotvec()
            numeric = np.concatenate([p1 - p0, turn]) / (2 * step)
            np.testing.assert_allclose(jacobian[:, joint], numeric, atol=1e-5)


@pytest.mark.parametrize('start', ['neutral', 'nearby'])
def test_inverse_reaches_reachable_poses(kinematics, start):
    rng = np.random.default_rng(2)
    reached = 0
    for q in rng.uniform(kinematics.lower, kinematics.upper, (POSES, len(kinematics.lower))):
        target = kinematics.forward(q)
        seed = kinematics.posture
        if start == 'nearby':
            seed = q + rng.uniform(-0.2, 0.2, len(q))
        found = kinematics.inverse(*target, seed)
        assert (found.q >= kinematics.lower).all()
        assert (found.q <= kinematics.upper).all()
        position, quaternion = kinematics.forward(found.q)
        turn = (Rotation.from_quat(quaternion).inv() * Rotation.from_quat(target[1])).magnitude()
        reached += np.linalg.norm(position - target[0]) <= 1e-3 and turn <= np.radians(0.5)
    assert reached >= 0.995 * POSES


@pytest.mark.parametrize('robot', ROBOTS)
def test_tracking_straight_lines_never_jumps(robot):
    """Targets 1 cm apart, fifty a second: half a metre a second, the fastest that limits allow."""
    kinematics, arm = kinematics_of(robot), arm_of(robot)
    low, high = np.array(arm.workspace_min_m), np.array(arm.workspace_max_m)
    _, upright = kinematics.forward(arm.home_rad)
    rng = np.random.default_rng(3)
    for _ in range(100):
        start, end = rng.uniform(low, high, (2, 3))
        q = kinematics.inverse(start, upright, arm.home_rad, restarts=0).q
        for share in np.linspace(0, 1, max(2, round(np.linalg.norm(end - start) / 0.01) + 1)):
            found = kinematics.track(q, start + share * (end - start), upright, 0.02)
            assert np.abs(found.q - q).max() <= 0.2
            assert (np.abs(found.q - q) <= kinematics.velocity_limit * 0.02 + 1e-9).all()
            assert found.converged or found.reason
            q = found.q


@pytest.mark.parametrize('robot', ROBOTS)
def test_tracking_follows_lines_over_the_blocks(robot):
    """Where the demo moves, a tool that starts on the line stays within a millimetre of it."""
    embodiment = load_embodiment(shared_file('config', f'{robot}_sim.yaml'))
    name = embodiment.arm_names[0]
    place, arm = embodiment.sim.arms[name], embodiment.arms[name]
    kinematics = kinematics_of(robot)
    height = -place.base_position_m[2]
    low, high = (*place.block_min_m, height + 0.02), (*place.block_max_m, height + 0.17)
    _, upright = kinematics.forward(arm.home_rad)
    rng = np.random.default_rng(4)
    for _ in range(100):
        start, end = rng.uniform(low, high, (2, 3))
        begin = kinematics.inverse(start, upright, arm.home_rad, restarts=0)
        assert begin.converged, begin.reason
        q = begin.q
        for share in np.linspace(0, 1, max(2, round(np.linalg.norm(end - start) / 0.01) + 1)):
            found = kinematics.track(q, start + share * (end - start), upright, 0.05)
            assert found.position_error_m <= 1e-3, found.reason
            assert np.abs(found.q - q).max() <= 0.2
            q = found.q


def test_a_target_out_of_reach_becomes_the_nearest_one_without_a_flip(kinematics):
    position, quaternion = kinematics.forward(kinematics.posture)
    far = position + np.array([5.0, 0.0, 0.0])
    q = kinematics.posture
    for _ in range(200):
        found = kinematics.track(q, far, quaternion, 0.02)
        assert (np.abs(found.q - q) <= kinematics.velocity_limit * 0.02 + 1e-9).all()
        q = found.q
    assert not found.converged
    assert found.reason
    assert kinematics.forward(q)[0][0] > position[0]
    assert not kinematics.inverse(far, quaternion, kinematics.posture, restarts=3).converged


def test_a_spare_joint_is_drawn_to_the_posture():
    arm = arm_of('franka')
    kinematics = kinematics_of('franka')
    target = kinematics.forward(arm.home_rad)
    elbow_out = kinematics.inverse(*target, np.add(arm.home_rad, (0.8, 0, -0.8, 0, 0, 0, 0)), 0)
    path = np.linspace(0, 0.05, 100)
    q = elbow_out.q
    for x in [*path, *path[::-1]]:
        q = kinematics.track(q, target[0] + (x, 0, 0), target[1], 0.02).q
    assert np.abs(q - arm.home_rad).max() < np.abs(elbow_out.q - arm.home_rad).max()


@pytest.mark.parametrize(
    ('arguments', 'culprit'),
    [
        (('/nowhere/robot.urdf', 'tool', ['joint1']), 'nowhere'),
        (('<robot', 'tool', ['joint1']), 'cannot read the URDF'),
    ],
)
def test_a_urdf_that_cannot_be_read_is_named(arguments, culprit):
    with pytest.raises(ConfigError, match=culprit):
        Kinematics(*arguments)


def test_a_wrong_frame_joint_or_order_is_named():
    arm = arm_of('widowx')
    urdf = shared_file('resource', arm.urdf)
    with pytest.raises(ConfigError, match=r"no link 'hand'.*wx250s/ee_gripper_link"):
        Kinematics(urdf, 'hand', arm.joint_names)
    with pytest.raises(ConfigError, match=r"no joints \['knee'\].*waist"):
        Kinematics(urdf, 'tool', [*arm.joint_names[:-1], 'knee'])
    with pytest.raises(ConfigError, match='base to tool: waist, shoulder'):
        Kinematics(urdf, 'tool', [*arm.joint_names[::-1]])


def test_bad_numbers_are_refused(kinematics):
    with pytest.raises(ValueError, match='finite joint positions'):
        kinematics.forward(np.full(len(kinematics.lower), np.nan))
    with pytest.raises(ValueError, match='finite joint positions'):
        kinematics.forward([0.0])
    with pytest.raises(ValueError, match='a target is 3 metres'):
        kinematics.track(kinematics.posture, (0, 0, np.nan), (0, 0, 0, 1), 0.02)
    with pytest.raises(ValueError, match='a target is 3 metres'):
        kinematics.track(kinematics.posture, (0, 0, 0), (0, 0, 0, 0), 0.02)


def changed_urdf(robot, *changes):
    """Return an arm and its URDF's text with parts replaced, each a pattern and what for."""
    arm = arm_of(robot)
    text = shared_file('resource', arm.urdf).read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    return arm, text


@pytest.mark.parametrize('robot', ['ur5e', 'franka', 'widowx'])
def test_joints_that_turn_without_end_reach_from_any_turn(robot):
    """Kinova's joints 1, 3, 5 and 7: the same tool, and steps from the turn that the arm is in."""
    arm, text = changed_urdf(robot)
    names = arm.joint_names[::2]
    for name in names:
        text = re.sub(rf'name="{name}" type="revolute"', f'name="{name}" type="continuous"', text)
    bounded = kinematics_of(robot)
    endless = Kinematics(text, arm.tool_frame, arm.joint_names, posture=arm.home_rad)
    assert [bool(free) for free in endless.limits.endless] == [n in names for n in arm.joint_names]
    rng = np.random.default_rng(5)
    turned = np.array(arm.home_rad) + 2 * np.pi * np.where(endless.limits.endless, 3, 0)
    for _ in range(20):
        target, quaternion = bounded.forward(arm.home_rad)
        np.testing.assert_allclose(endless.forward(turned)[0], target, atol=1e-9)
        goal = target + rng.uniform(-0.003, 0.003, 3)
        step = endless.track(turned, goal, quaternion, 0.05)
        assert (np.abs(step.q - turned) <= endless.velocity_limit * 0.05 + 1e-9).all()
        assert step.position_error_m < 1e-3, step.reason
    far = target + np.array([0.05, 0.1, -0.02])
    found = endless.inverse(far, quaternion, turned)
    assert found.converged, found.reason
    assert (np.abs(found.q - turned)[endless.limits.endless] <= 2 * np.pi).all()


LIMITS = [
    ((r'velocity="[^"]*"', 'velocity="0"'), "'waist' has a velocity limit of 0"),
    ((r'(lower|upper)="[^"]*"', r'\1="0"'), "'waist' has no range"),
]


@pytest.mark.parametrize(('change', 'culprit'), LIMITS)
def test_limits_that_allow_no_motion_are_refused_but_for_forward_kinematics(change, culprit):
    arm, text = changed_urdf('widowx', change)
    with pytest.raises(ConfigError, match=culprit):
        Kinematics(text, arm.tool_frame, arm.joint_names)
    only = Kinematics(text, arm.tool_frame, arm.joint_names, forward_only=True)
    np.testing.assert_allclose(
        only.forward(arm.home_rad)[0], kinematics_of('widowx').forward(arm.home_rad)[0], atol=1e-9
    )
    assert not only.limits.implausible(np.array(arm.home_rad))


@pytest.mark.parametrize(
    ('change', 'culprit'),
    [
        ((r'velocity="[^"]*"', 'velocity="-1"'), "joint 'waist' has a velocity limit of -1"),
        ((r'<limit[^>]*/>', ''), "joint 'waist' is revolute and has no <limit>"),
    ],
)
def test_limits_that_pinocchio_refuses_are_refused_by_the_joint(change, culprit):
    arm, text = changed_urdf('widowx', change)
    with pytest.raises(ConfigError, match=culprit):
        Kinematics(text, arm.tool_frame, arm.joint_names, forward_only=True)


@given(st.data())
@settings(max_examples=SAMPLES)
def test_a_step_never_exceeds_a_joint_s_speed_wherever_the_joints_are_measured(data):
    """Nor does a joint beyond its limit go farther; the demand may be anything."""
    kinematics = data.draw(st.sampled_from([STEPPED[robot] for robot in ROBOTS]))
    low, high = kinematics.lower, kinematics.upper
    beyond = data.draw(st.sampled_from([0.0, 0.002, 0.2, 3.0, 90.0]))
    shares = data.draw(st.lists(st.floats(-0.2, 1.2), min_size=len(low), max_size=len(low)))
    q = np.clip(low + np.array(shares) * (high - low), low - beyond, high + beyond)
    moved = np.array(data.draw(st.lists(st.floats(-1, 1), min_size=3, max_size=3)))
    position, quaternion = kinematics.forward(q)
    step = kinematics.track(q, position + moved, quaternion, 0.02)
    assert (np.abs(step.q - q) <= kinematics.velocity_limit * 0.02 + 1e-9).all()
    assert (step.q >= np.minimum(low, q) - 1e-9).all()
    assert (step.q <= np.maximum(high, q) + 1e-9).all()


def test_a_joint_beyond_its_limit_comes_back_on_demand():
    kinematics = kinematics_of('widowx')
    q = np.array(arm_of('widowx').home_rad)
    target = kinematics.forward(q)
    q[5] = kinematics.upper[5] + 0.2
    for _ in range(120):
        q = kinematics.track(q, *target, 0.02).q
    assert kinematics.track(q, *target, 0.02).converged
    assert not kinematics.limits.beyond(q)


UNITS = [
    (np.degrees, 'degrees'),
    (lambda q: 1000 * np.degrees(q), 'thousandths of a degree'),
    (lambda q: 2048 + q * 4096 / (2 * np.pi), 'servo ticks'),
    (lambda q: 100 * q / np.pi, 'normalised'),
]


@pytest.mark.parametrize('robot', ['franka', 'widowx', 'agilex', 'ur5e'])
@pytest.mark.parametrize(('unit', 'name'), UNITS, ids=lambda v: v if isinstance(v, str) else '')
def test_joints_in_another_unit_are_doubted_and_the_unit_that_fits_is_named(robot, unit, name):
    limits, home = kinematics_of(robot).limits, np.array(arm_of(robot).home_rad)
    doubt = limits.implausible(unit(home))
    assert name in doubt, doubt
    assert 'expected radians' in doubt
    assert any(joint in doubt for joint in limits.names)


def test_joints_inside_their_limits_or_little_beyond_are_not_doubted():
    rng = np.random.default_rng(6)
    for robot in ROBOTS:
        limits = kinematics_of(robot).limits
        for q in rng.uniform(limits.lower - 0.2, limits.upper + 0.2, (200, len(limits.lower))):
            assert not limits.implausible(q)
