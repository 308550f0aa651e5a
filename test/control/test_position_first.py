# SPDX-License-Identifier: Apache-2.0
"""An arm of five joints follows tool poses: its position first, its rotation as far as it goes."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
import yaml

from xvla_ros.control.drivers.joint_tracker import JointArmDriver
from xvla_ros.control.following import Following
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

# Always the same examples: next to joint limits others are known that creep (docs/drivers.md).
EXAMPLES = 60
PERIOD_S, TICKS, AT_REST_RAD = 0.02, 400, 1e-5
REACHED_M = 0.002
# A rotation is as near as it goes when no motion of the joints by at most STEP_RAD that keeps the
# position brings it nearer by two degrees.
NEAR_RAD, STEP_RAD = 0.035, 0.05
# Nearer to the first joint's axis a turn about it hardly moves the tool, and may end too early.
ABOVE_BASE_M = 0.03
AT_LIMIT_RAD = 0.01  # so near to their limits two joints may end a turn too early, as well


@pytest.fixture(scope='module')
def embodiment(tmp_path_factory):
    """Return the SO-101 for a checkpoint of tool poses: without a joints table."""
    document = yaml.safe_load(shared_file('config', 'so101_sim.yaml').read_text())
    parameters = document['/**']['ros__parameters']
    parameters['policy'] |= {'action_mode': 'ee6d', 'checkpoint': ''}
    arm = parameters['arms']['arm']
    del arm['joints']
    for key in ('model_index', 'model_closed', 'model_open'):
        del arm['gripper'][key]
    file = tmp_path_factory.mktemp('so101') / 'so101_ee6d.yaml'
    file.write_text(yaml.safe_dump(document))
    return load_embodiment(file)


def so101():
    arm = load_embodiment(shared_file('config', 'so101_sim.yaml')).arms['arm']
    urdf = shared_file('resource', arm.urdf)
    return Kinematics(urdf, arm.tool_frame, arm.joint_names, posture=arm.home_rad)


ARM = so101()
SHARES = st.lists(st.floats(0.02, 0.98), min_size=5, max_size=5).map(np.array)
TURNS = st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).map(np.array)
OFFS = st.lists(st.floats(-0.3, 0.3), min_size=5, max_size=5).map(np.array)


def turned(quaternion, by):
    """Return a quaternion turned by a rotation vector [rad]."""
    return (Rotation.from_rotvec(by) * Rotation.from_quat(quaternion)).as_quat()


def off_rad(q, quaternion):
    return (
        Rotation.from_quat(ARM.forward(q)[1]).inv() * Rotation.from_quat(quaternion)
    ).magnitude()


def at_rest(q, position, quaternion):
    """Return where an arm that starts at q comes to rest."""
    for _ in range(TICKS):
        step = ARM.track(q, position, quaternion, PERIOD_S)
        assert (np.abs(step.q - q) <= ARM.velocity_limit * PERIOD_S + 1e-9).all()
        if np.abs(step.q - q).max() < AT_REST_RAD:
            return step
        q = step.q
    raise AssertionError('the arm does not come to rest')


def nearer_rad(q, position, quaternion):
    """Return how much nearer to a rotation an optimiser turns the tool by at most STEP_RAD."""
    low, high = np.maximum(ARM.lower, q - STEP_RAD), np.minimum(ARM.upper, q + STEP_RAD)
    found = minimize(
        lambda x: off_rad(x, quaternion) ** 2,
        q,
        method='SLSQP',
        bounds=list(zip(low, high, strict=True)),
        constraints={'type': 'eq', 'fun': lambda x: 10 * (ARM.forward(x)[0] - position)},
    )
    moved = np.abs(ARM.forward(found.x)[0] - position).max() > 1e-4
    return 0.0 if moved else off_rad(q, quaternion) - np.sqrt(found.fun)


@given(shares=SHARES, by=TURNS, offs=OFFS)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_at_rest_the_tool_is_at_its_position_and_turned_as_near_as_it_goes(shares, by, offs):
    q = ARM.lower + shares * (ARM.upper - ARM.lower)
    position, quaternion = ARM.forward(q)
    wanted = turned(quaternion, by)
    step = at_rest(np.clip(q + offs, ARM.lower, ARM.upper), position, wanted)
    assert step.position_error_m <= REACHED_M, step.reason
    at_limits = ((step.q < ARM.lower + AT_LIMIT_RAD) | (step.q > ARM.upper - AT_LIMIT_RAD)).sum()
    if np.linalg.norm(position[:2]) > ABOVE_BASE_M and at_limits < 2:
        assert nearer_rad(step.q, position, wanted) < NEAR_RAD


@given(shares=SHARES, offs=OFFS)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_a_pose_that_five_joints_can_take_is_taken(shares, offs):
    q = ARM.lower + shares * (ARM.upper - ARM.lower)
    found = ARM.inverse(*ARM.forward(q), np.clip(q + offs / 2, ARM.lower, ARM.upper))
    assert found.converged, found.reason
    assert found.rotation_error_rad < np.radians(0.5)


@given(shares=SHARES, by=TURNS)
@settings(max_examples=EXAMPLES // 4, deadline=None, derandomize=True)
def test_a_position_in_reach_is_found_from_home_whatever_the_rotation(shares, by):
    position, quaternion = ARM.forward(ARM.lower + shares * (ARM.upper - ARM.lower))
    found = ARM.inverse(position, turned(quaternion, by), ARM.posture)
    assert found.position_error_m <= REACHED_M, found.reason
    assert found.converged


def test_a_position_out_of_reach_is_no_pose_of_five_joints():
    found = ARM.inverse([1.5, 0.0, 0.2], [1.0, 0.0, 0.0, 0.0], ARM.posture)
    assert not found.converged
    assert found.reason


class Arm(JointArmDriver):
    """A driver that stores what it sends."""

    def command(self, joints, opening):
        self.sent = joints


def sway(kinematics, home, count=200):
    """Return targets that lead the tool over the blocks, turned about an axis out of reach."""
    position, quaternion = kinematics.forward(home)
    targets = []
    for phase in np.linspace(0, 2 * np.pi, count):
        way = np.array([0.03 * np.sin(phase), 0.05 * np.sin(2 * phase), 0.03 * np.sin(phase)])
        # Sideways: a tilt that no joint of this arm makes while the tool points down.
        tilt = turned(quaternion, [0.9 * np.sin(phase / 2), 0.0, 0.0])
        targets.append(ArmPose(position=position + way, quaternion=tilt, gripper=0.5))
    return targets


def follow(embodiment, blocked_from=None):
    """Return what the following rule says at each tick, and the plans of the driver."""
    settings_of = embodiment.arms['arm']
    driver, home = Arm(None, settings_of, ARM), np.array(settings_of.home_rad)
    following, q, said, plans = Following(embodiment), home, [], []
    for tick, target in enumerate(sway(ARM, home)):
        assert not driver.objection(target, q)
        plan = driver.plan(target, q, PERIOD_S)
        driver.send(plan)
        if blocked_from is None or tick < blocked_from:
            q = driver.sent
        position, quaternion = ARM.forward(q)
        measured = ArmPose(position=position, quaternion=quaternion, gripper=0.5)
        now_ns = round(tick * PERIOD_S * 1e9)
        said.append(following.check([plan], [measured], [now_ns], now_ns).text)
        plans.append(plan)
    return said, plans


def test_a_rotation_out_of_reach_does_not_stop_the_arm(embodiment):
    assert embodiment.limits.max_following_error_rad < 0.9
    said, plans = follow(embodiment)
    assert not any(said)
    assert all(plan.reachable for plan in plans)
    wanted = sway(ARM, np.array(embodiment.arms['arm'].home_rad))
    off = [
        np.linalg.norm(ARM.forward(p.joints)[0] - t.position)
        for p, t in zip(plans, wanted, strict=True)
    ]
    assert max(off) < REACHED_M
    assert any('turned as far as 5 joints go' in reason for p in plans for reason in p.reasons)


def test_a_blocked_arm_of_five_joints_is_still_found(embodiment):
    said, _ = follow(embodiment, blocked_from=60)
    assert any('does not follow' in text for text in said)


def test_six_joints_do_not_give_up_a_rotation():
    widowx = load_embodiment(shared_file('config', 'widowx_sim.yaml')).arms['arm']
    urdf = shared_file('resource', widowx.urdf)
    six = Kinematics(urdf, widowx.tool_frame, widowx.joint_names, posture=widowx.home_rad)
    driver, home = Arm(None, replace(widowx), six), np.array(widowx.home_rad)
    position, quaternion = six.forward(home)
    target = ArmPose(position=position, quaternion=turned(quaternion, [0, 0, 1.0]), gripper=0.5)
    step = driver.plan(target, home, PERIOD_S)
    np.testing.assert_array_equal(step.target.quaternion, target.quaternion)
