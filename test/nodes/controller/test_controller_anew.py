# SPDX-License-Identifier: Apache-2.0
"""
controller_node over real DDS, with a clock that the test sets: where a motion begins and ends.

The test publishes the arms' states and records their commands.
"""

from dataclasses import replace

from controller_rig import PERIOD_S, Rig
import numpy as np
import pytest
from std_msgs.msg import Bool

from xvla_ros.control.drivers import GripperDriver
from xvla_ros.control.hold_anchor import BEHIND_M
from xvla_ros.nodes.controller.__main__ import REST_S

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
    """Return a function that lists an arm's commands from now on; they are still sent."""

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


def assert_begins_at_the_measured_joints(rig, record):
    rig.joints['arm'] = rig.joints['arm'] + [0.2, 0.0, 0.0, 0.0, 0.0, 0.0]
    rig.pass_time(PERIOD_S)
    sent = record(only(rig.controller._robot._drivers), 'command')
    send_until_rest(rig)
    assert np.abs(sent[0] - rig.joints['arm']).max() < 0.01


def send_until_rest(rig):
    """Send targets where the arm is until a motion must begin there."""
    for _ in range(round(REST_S / PERIOD_S) + 2):
        rig.pass_time(PERIOD_S)
        rig.send(rig.tools())


held = pytest.mark.parametrize('held_s', [0.2, 0.4, 1.0])


@held
def test_a_joint_arm_moved_during_a_hold_begins_at_its_measured_joints(make_rig, record, held_s):
    rig = make_rig('widowx')
    rig.move(by=(0.02, 0.0, 0.0), steps=20)
    rig.send(None)
    rig.pass_time(held_s)
    assert rig.status.startswith('holding')
    assert_begins_at_the_measured_joints(rig, record)


@held
def test_an_arm_moved_during_a_hold_begins_at_its_measured_pose(make_rig, record, held_s):
    """A simulation that begins a new scene moves the arm in this way."""
    rig = make_rig('franka')
    rig.move(by=(0.015, 0.0, 0.0), steps=30, follow=False)  # as good as following
    rig.send(None)
    rig.pass_time(held_s)
    assert rig.status.startswith('holding')
    rig.joints['arm'] = rig.joints['arm'] + [0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    rig.pass_time(PERIOD_S)
    sent = record(only(rig.controller._robot._drivers), '_publish')
    send_until_rest(rig)
    assert np.linalg.norm(sent[0].position - rig.tools()[0].position) < 1e-3


def test_an_arm_that_lags_is_not_sent_back_when_the_motion_goes_on(make_rig, record):
    """An impedance-controlled arm may still be on its way to where it is held."""
    rig = make_rig('franka')
    sent = record(only(rig.controller._robot._drivers), '_publish')
    rig.move(by=(0.04, 0.0, 0.0), steps=10, follow=False)
    rig.send(None)
    rig.wait(lambda: rig.status.startswith('holding'), lambda: rig.pass_time(PERIOD_S))
    commands, held = len(sent), sent[-1]
    assert np.linalg.norm(held.position - rig.tools()[0].position) > BEHIND_M
    rig.send([held])
    assert len(sent) == commands
    assert rig.counts['refused'] == 1
    there = rig.kinematics['arm'].inverse(held.position, held.quaternion, rig.joints['arm'])
    rig.joints['arm'] = there.q
    rig.pass_time(PERIOD_S)
    rig.send([held])
    assert np.linalg.norm(sent[commands].position - held.position) < 1e-3


def test_motion_begins_at_the_measured_pose_after_the_clock_went_back(make_rig, record):
    """A simulation that is reset puts its arm at home and its clock to zero."""
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


def test_a_clock_that_goes_back_ends_a_motion(make_rig):
    rig = make_rig('franka')
    rig.move(by=(0.01, 0.0, 0.0), steps=5, follow=False)
    assert rig.status.startswith('moving')
    rig.set_time(5_000_000_000)
    rig.wait(lambda: rig.status.startswith('holding'), rig.pass_clock)
    assert 'the clock went back by 995' in rig.status


def test_braking_without_a_measured_state_resets_the_motion(make_rig, record):
    rig = make_rig('widowx')
    rig.move(by=(0.05, 0.0, 0.0), steps=20)
    rig.set_time(rig.now_ns + 300_000_000)  # the arm's state is as old as the last target
    rig.wait(lambda: 'stopped at once' in rig.status, rig.pass_clock)
    assert_begins_at_the_measured_joints(rig, record)


def test_both_arms_brake_within_the_limits_when_one_cannot_make_a_step(make_rig, monkeypatch):
    """The arms lag behind their commands, so braking must not begin at their measured joints."""
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
    """A gripper that counts the calls of `hold`."""

    def __init__(self):
        self.held = 0

    def send(self, opening):
        """Do nothing."""

    def hold(self):
        self.held += 1


def test_an_emergency_stop_reaches_the_grippers_without_a_measured_arm(make_rig):
    rig = make_rig('franka')
    gripper = rig.controller._robot._grippers['arm'] = Waiting()
    estop = rig.node.create_publisher(Bool, 'estop', 10)
    rig.wait(lambda: rig.status.startswith('stopped'), lambda: estop.publish(Bool(data=True)))
    assert 'no stop command was sent' in rig.status
    assert gripper.held == 1


def test_a_silent_deadman_is_noticed_after_the_clock_went_back(make_rig):
    rig = make_rig('franka', **{'control.deadman_topic': 'deadman'})
    thumb = rig.node.create_publisher(Bool, 'deadman', 1)
    rig.wait(
        lambda: not rig.controller._stop_inputs.released, lambda: thumb.publish(Bool(data=True))
    )
    rig.set_time(5_000_000_000)
    rig.wait(lambda: 'silent' in rig.controller._stop_inputs.released.text)
