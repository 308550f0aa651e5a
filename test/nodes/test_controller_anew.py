# SPDX-License-Identifier: Apache-2.0
"""
controller_node over real DDS, at a time that the test sets: where motion begins and when it ends.

The arms are the test's: they are where it says, and their commands are recorded.
"""

from dataclasses import replace

from controller_rig import PERIOD_S, Rig
import numpy as np
import pytest
from std_msgs.msg import Bool

from xvla_ros.control.drivers import GripperDriver

pytestmark = pytest.mark.ros


@pytest.fixture
def make_rig(ros_context):
    rigs = []

    def make(robot, **parameters):
        rigs.append(Rig(robot, **parameters))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def record(monkeypatch):
    """Return a function that lists what an arm is commanded from now on, and still sends it."""

    def begin(driver, method):
        sent, really = [], getattr(driver, method)

        def command(first, *rest):
            sent.append(first)
            really(first, *rest)

        monkeypatch.setattr(driver, method, command)
        return sent

    return begin


def only(mapping):
    (value,) = mapping.values()
    return value


def assert_begins_where_a_hand_put_it(rig, record):
    rig.joints['arm'] = rig.joints['arm'] + [0.2, 0.0, 0.0, 0.0, 0.0, 0.0]
    rig.pass_time(PERIOD_S)
    sent = record(only(rig.controller._robot._drivers), 'command')
    rig.send(rig.tools())
    assert np.abs(sent[0] - rig.joints['arm']).max() < 0.01


held = pytest.mark.parametrize('held_s', [0.2, 0.4, 1.0])


@held
def test_a_joint_arm_that_was_moved_during_a_hold_begins_where_it_is(make_rig, record, held_s):
    rig = make_rig('widowx')
    rig.move(by=(0.02, 0.0, 0.0), steps=20)
    rig.send(None)
    rig.pass_time(held_s)
    assert rig.status.startswith('holding')
    assert_begins_where_a_hand_put_it(rig, record)


@held
def test_an_arm_that_was_put_elsewhere_during_a_hold_begins_there(make_rig, record, held_s):
    """As by a simulation that begins an episode anew."""
    rig = make_rig('franka')
    rig.move(by=(0.015, 0.0, 0.0), steps=30, follow=False)  # as good as following
    rig.send(None)
    rig.pass_time(held_s)
    assert rig.status.startswith('holding')
    rig.joints['arm'] = rig.joints['arm'] + [0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    rig.pass_time(PERIOD_S)
    sent = record(only(rig.controller._robot._drivers), '_publish')
    rig.send(rig.tools())
    assert np.linalg.norm(sent[-1].position - rig.tools()[0].position) < 1e-3


def test_after_the_clock_went_back_motion_begins_where_the_arm_is(make_rig, record):
    """A simulation that is reset puts its arm home and its clock to zero."""
    rig = make_rig('franka')
    home = rig.tools()
    rig.move(by=(0.015, 0.0, 0.0), steps=30, follow=False)  # as good as following
    rig.send(None)
    rig.pass_time(0.4)
    sent = record(only(rig.controller._robot._drivers), '_publish')
    rig.set_time(5_000_000_000)
    rig.publish_states()
    rig.send(home)
    assert np.linalg.norm(sent[-1].position - home[0].position) < 1e-3


def test_a_clock_that_goes_back_in_motion_ends_it(make_rig):
    rig = make_rig('franka')
    rig.move(by=(0.01, 0.0, 0.0), steps=5, follow=False)
    assert rig.status.startswith('moving')
    rig.set_time(5_000_000_000)
    rig.wait(lambda: rig.status.startswith('holding'), rig.pass_clock)
    assert 'the clock went back by 995' in rig.status


def test_braking_without_a_state_begins_anew(make_rig, record):
    rig = make_rig('widowx')
    rig.move(by=(0.05, 0.0, 0.0), steps=20)
    rig.set_time(rig.now_ns + 300_000_000)  # the arm's state is as old as the last target
    rig.wait(lambda: 'stopped at once' in rig.status, rig.pass_clock)
    assert_begins_where_a_hand_put_it(rig, record)


def test_a_step_that_one_arm_cannot_make_brakes_both_within_the_limits(make_rig, monkeypatch):
    """Its arms lag behind what they are told, so that none may begin anew where it is."""
    rig = make_rig('agilex')
    left, right = rig.controller._robot._drivers.values()
    plan, tools, lag = left.plan, [], 5
    told = {name: [q.copy()] * (lag + 1) for name, q in rig.joints.items()}
    home = rig.tools()
    for tick in range(45):
        rig.joints = {name: joints[-lag] for name, joints in told.items()}
        rig.pass_time(PERIOD_S)
        away = [0.1 * PERIOD_S * tick, 0.0, 0.0]
        goals = [replace(pose, position=pose.position + away) for pose in home]
        with monkeypatch.context() as patch:
            if tick == 30:
                patch.setattr(
                    left, 'plan', lambda *a: replace(plan(*a), reachable=False, reasons=('x',))
                )
            rig.send(goals)
        for joints, driver in zip(told.values(), (left, right), strict=True):
            joints.append(driver._commanded)
        tools.append(rig.kinematics['right'].forward(right._commanded)[0])
    assert rig.counts['refused'] == 1
    change = np.diff(np.array(tools), n=2, axis=0) / PERIOD_S**2
    most = rig.controller.embodiment.limits.max_linear_acceleration_m_s2
    assert np.linalg.norm(change[25:], axis=1).max() < 1.05 * most


class Waiting(GripperDriver):
    """A gripper that counts how often it is told to begin nothing more."""

    def __init__(self):
        self.held = 0

    def send(self, opening):
        """Take no note."""

    def hold(self):
        self.held += 1


def test_an_emergency_stop_reaches_the_grippers_though_no_arm_is_measured(make_rig):
    rig = make_rig('franka')
    gripper = rig.controller._robot._grippers['arm'] = Waiting()
    estop = rig.node.create_publisher(Bool, 'estop', 10)
    rig.wait(lambda: rig.status.startswith('stopped'), lambda: estop.publish(Bool(data=True)))
    assert 'no last command' in rig.status
    assert gripper.held == 1


def test_a_deadman_that_falls_silent_when_the_clock_goes_back_is_not_held(make_rig):
    rig = make_rig('franka', **{'control.deadman_topic': 'deadman'})
    thumb = rig.node.create_publisher(Bool, 'deadman', 1)
    rig.wait(lambda: not rig.controller._released, lambda: thumb.publish(Bool(data=True)))
    rig.set_time(5_000_000_000)
    rig.wait(lambda: 'silent' in rig.controller._released)
