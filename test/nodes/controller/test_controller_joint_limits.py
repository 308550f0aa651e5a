# SPDX-License-Identifier: Apache-2.0
"""Joints that are measured where none should be: no command is ever faster than a joint may be."""

from controller_rig import PERIOD_S, Rig
import numpy as np
import pytest

pytestmark = pytest.mark.ros
ROBOTS = ('widowx', 'agilex', 'ur5e')
BEYOND_RAD = 0.2


@pytest.fixture
def make_rig(ros_context):
    rigs = []

    def make(robot):
        rigs.append(Rig(robot))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def inside(rig, name, q):
    """Tell whether the tool of joints q is in the workspace: the gate has no objection then."""
    position, _ = rig.kinematics[name].forward(q)
    arm = rig.arms[name]
    low, high = np.array(arm.workspace_min_m), np.array(arm.workspace_max_m)
    return bool(((position > low) & (position < high)).all())


def is_moving(rig):
    """Tell whether the controller moves or brakes."""
    return rig.status.startswith(('moving', 'braking'))


@pytest.mark.parametrize('robot', ROBOTS)
def test_a_joint_beyond_its_limit_holds_or_comes_back_within_its_speed(make_rig, robot):
    rig = make_rig(robot)
    name = next(iter(rig.arms))
    limits, home = rig.kinematics[name].limits, rig.joints[name].copy()
    ends = (limits.upper + BEYOND_RAD, limits.lower - BEYOND_RAD)
    each = np.eye(len(home), dtype=bool)
    cases = [np.where(joint, end, home) for joint in each for end in ends]
    cases = [q for q in cases if inside(rig, name, q)]
    assert cases, 'no joint can be beyond its limit with the tool in the workspace'
    for q in cases:
        rig.wait(lambda: not is_moving(rig), lambda: rig.pass_time(PERIOD_S))
        rig.joints[name] = q.copy()
        rig.pass_time(0.6)  # after so long motion starts from the measured joints
        at = q
        for _ in range(10):
            rig.pass_time(PERIOD_S)
            rig.send(rig.tools())
            commanded = rig.controller._robot._drivers[name]._commanded
            assert (np.abs(commanded - at) <= limits.velocity * PERIOD_S + 1e-9).all()
            assert 'beyond its limit' in rig.status
            at = commanded
            rig.follow()
    assert rig.counts['refused'] == 0


@pytest.mark.parametrize('robot', ROBOTS)
@pytest.mark.parametrize(
    ('unit', 'words'), [(np.degrees, 'degrees'), (lambda q: 2048 + 652 * q, 'servo ticks')]
)
def test_joints_in_another_unit_are_refused_before_the_first_motion(make_rig, robot, unit, words):
    rig = make_rig(robot)
    tools = rig.tools()
    for name, q in rig.joints.items():
        rig.joints[name] = unit(q)
    rig.wait(lambda: words in _refusal(rig), rig._publish_states)
    rig.send(tools)
    assert words in rig.status
    assert 'its URDF allows' in rig.status
    assert rig.counts['executed'] == 0
    assert all(driver._commanded is None for driver in rig.controller._robot._drivers.values())


def _refusal(rig):
    """Return why the controller does not know where the arms are."""
    from xvla_ros.core.errors import ObservationError

    try:
        rig.controller._robot.measure(rig.now_ns)
    except ObservationError as error:
        return str(error)
    return ''
