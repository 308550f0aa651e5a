# SPDX-License-Identifier: Apache-2.0
"""
controller_node over real DDS, with a clock that the test sets: how it brakes without targets.

The test publishes the arms' states, which follow at once, and checks the speed of the commands.
"""

from dataclasses import replace

from controller_rig import PERIOD_S, Rig
import numpy as np
import pytest

pytestmark = pytest.mark.ros
SPEED_M_S = 0.3
SOFT = {'limits.max_linear_acceleration_m_s2': 1.0}


class Stream:
    """Sends targets that move along x, and records the times and positions of the commands."""

    def __init__(self, robot, **parameters):
        self.rig = Rig(robot, **parameters)
        self._kinematics = self.rig.kinematics['arm']
        self._start, self._away_m, self._speed_m_s = self.rig.tools(), 0.0, 0.0
        self._sent = []
        (driver,) = self.rig.controller._robot._drivers.values()
        really = driver.send

        def send(plan):
            tool = plan.target.position
            if plan.joints is not None:
                tool = self._kinematics.forward(plan.joints)[0]
            now_ns = self.rig.controller._time.now_ns()
            self._sent.append((now_ns * 1e-9, *tool))
            really(plan)

        driver.send = send

    @property
    def limit(self):
        return self.rig.controller.embodiment.limits.max_linear_acceleration_m_s2

    def run(self, steps, send=True):
        """Let control periods pass, with a target in each or without targets."""
        for _ in range(steps):
            self.rig.pass_time(PERIOD_S)
            self._follow()
            self._speed_m_s = min(self._speed_m_s + 0.8 * self.limit * PERIOD_S, SPEED_M_S)
            self._away_m += self._speed_m_s * PERIOD_S
            if send:
                self.lead()

    def _follow(self):
        """Put the arm at its last command."""
        if self._sent:
            joints, position = self.rig.joints['arm'], np.array(self._sent[-1][1:])
            quaternion = self._start[0].quaternion
            found = self._kinematics.inverse(position, quaternion, joints, restarts=0)
            self.rig.joints['arm'] = found.q

    def lead(self, by=(0.0, 0.0, 0.0)):
        """Send the next target, shifted by a vector (3,) [m]."""
        off = np.array([self._away_m, 0.0, 0.0]) + by
        self.rig.send([replace(pose, position=pose.position + off) for pose in self._start])

    def speeds(self):
        """Return the times (n,) [s] of the commands and the speed (n - 1,) [m/s] between them."""
        last = {time_s: tool for time_s, *tool in self._sent}
        times = np.array(list(last))
        moved = np.linalg.norm(np.diff(np.array(list(last.values())), axis=0), axis=1)
        return times, moved / np.diff(times)

    def wait_for(self, word):
        """Let time pass without targets until the controller is in a state."""
        for _ in range(50):
            if self.rig.status.startswith(word):
                return
            self.run(1, send=False)
        raise AssertionError(f'{word} was expected: {self.rig.status}')


@pytest.fixture
def make_stream(ros_context):
    streams = []

    def make(robot, **parameters):
        streams.append(Stream(robot, **parameters))
        return streams[-1]

    yield make
    for stream in streams:
        stream.rig.close()


@pytest.mark.parametrize('robot', ['franka', 'widowx'])
def test_an_arm_does_not_move_on_after_targets_stopped(make_stream, robot):
    """The arm has stopped at its last target, so braking must not begin at the old speed."""
    stream = make_stream(robot)
    stream.run(20)
    end_s = stream.rig.now_ns * 1e-9
    stream.wait_for('holding')
    times, speeds = stream.speeds()
    assert speeds[times[1:] <= end_s].max() == pytest.approx(SPEED_M_S, rel=0.02)
    assert times[-1] > end_s
    assert speeds[times[1:] > end_s].max() < 1e-3


def test_targets_after_a_hold_start_the_arm_from_rest(make_stream):
    stream = make_stream('franka')
    stream.run(20)
    stream.wait_for('holding')
    rest_s = stream.rig.now_ns * 1e-9
    stream.run(3)
    times, speeds = stream.speeds()
    most = stream.limit * PERIOD_S * np.arange(1, 4) * 1.001
    assert (speeds[times[1:] > rest_s] <= most).all()


def test_half_a_second_without_targets_ends_the_motion_before_a_late_hold(make_stream):
    """With a large `hold_after_s` the next target must not start the arm at its old speed."""
    stream = make_stream('franka', **{'control.hold_after_s': 2.0})
    stream.run(20)
    rest_s = stream.rig.now_ns * 1e-9
    stream.rig.pass_time(0.6)
    assert stream.rig.status.startswith('moving')
    stream.run(3)
    times, speeds = stream.speeds()
    most = stream.limit * PERIOD_S * np.arange(1, 4) * 1.001
    assert (speeds[times[1:] > rest_s] <= most).all()


def test_two_late_targets_do_not_end_the_motion(make_stream):
    stream = make_stream('franka')
    stream.run(20)
    for _ in range(3):
        stream.run(2, send=False)
        stream.run(10)
    _, speeds = stream.speeds()
    assert stream.rig.counts['holds'] == 0
    assert speeds[20:].min() > 0.7 * SPEED_M_S


def assert_it_brakes_within_the_limits(stream, begin):
    """Check that the commands after the first `begin` brake at the limit, and never beyond it."""
    times, speeds = stream.speeds()
    change = (np.diff(speeds) / np.diff(times)[1:])[begin - 2 :]
    assert change[0] == pytest.approx(-stream.limit, rel=0.01), 'it did not begin to brake at once'
    assert change.min() > -1.01 * stream.limit
    assert change.max() < 0.01 * stream.limit
    assert speeds[-1] < 1e-3


def test_a_hold_from_the_policy_brakes_at_once_and_within_the_limits(make_stream):
    stream = make_stream('franka', **SOFT)
    stream.run(30)
    stream.rig.pass_time(PERIOD_S)
    stream.rig.send(None)
    stream.wait_for('holding')
    assert_it_brakes_within_the_limits(stream, begin=30)


def test_refused_targets_do_not_make_the_arm_brake_harder(make_stream):
    """A refused target and a tick in the same period must not brake by two whole steps."""
    stream = make_stream('franka', **SOFT, **{'limits.on_workspace': 'reject'})
    stream.run(30)
    for _ in range(20):
        stream.run(1, send=False)
        stream.lead(by=(0.0, 0.0, -2.0))
    assert_it_brakes_within_the_limits(stream, begin=30)
