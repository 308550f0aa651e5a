# SPDX-License-Identifier: Apache-2.0
"""
controller_node over real DDS with control.ahead_s, and the simulation's trajectory controller.

The arm follows the paths that arrive. It stops at once on a hold, a refusal, the e-stop and
silence, and by itself when the controller node is gone.
"""

from controller_rig import PERIOD_S, Rig
from joint_robots import joint_robot
import numpy as np
import pytest
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from xvla_ros.nodes.common.conversions import command_to_message
from xvla_ros.nodes.controller.condition import State
from xvla_ros.nodes.sim.trajectories import TrajectoryFollower

pytestmark = pytest.mark.ros
ROWS, SPEED = 5, 1.0
# Braking from SPEED within the file's 20 rad/s^2, and the piece of the plan before it [s].
LONGEST_S = ROWS * PERIOD_S + SPEED / 20 + 3 * PERIOD_S


class PathRig(Rig):
    """The SO-101 with a trajectory controller that listens to the controller node."""

    def __init__(self, **parameters):
        self.robot = joint_robot('so101')
        self.follower = TrajectoryFollower(self.robot.embodiment.arms['arm'].joint_names)
        self.received, self.applied, self.ticks = [], 0, 0
        super().__init__('so101', **{'control.ahead_s': '0.1'} | parameters)
        self.reference = self.joints['arm'].copy()
        self.speed = np.zeros(5)

    def _open(self):
        super()._open()
        topic = self.arms['arm'].command_topic
        self.node.create_subscription(JointTrajectory, topic, self.received.append, 10)

    def state(self):
        return self.controller._condition.state

    def goal(self, ticks):
        """Return where the plan is after control periods: from rest to an even speed."""
        times = PERIOD_S * ticks
        way = times**2 * 5 if times < 0.1 else SPEED * (times - 0.05)
        return self.robot.home + way * np.array([1.0, 0, 0, 0, 0])

    def lead(self, stamp_ns=None):
        """Send one target with the plan behind it, and wait until it is obeyed or refused."""
        self.ticks += 1
        space, before = self.robot.space, sum(self.counts.values())
        rows = [(self.goal(self.ticks + i), 0.5) for i in range(1, ROWS + 1)]
        message = command_to_message(
            self.controller.embodiment,
            self.robot.arms(self.goal(self.ticks)),
            stamp_ns or self.now_ns,
            1,
            [[(*q, opening)] for q, opening in rows],
        )
        assert space.joint_counts == (5,)
        self.wait(
            lambda: sum(self.counts.values()) > before, lambda: self.targets.publish(message)
        )

    def follow_path(self, seconds=PERIOD_S):
        """Take the newest trajectory and follow it for a time."""
        for message in self.received[self.applied :]:
            assert not self.follower.objection(message), self.follower.objection(message)
            self.follower.begin(message, self.reference)
        self.applied = len(self.received)
        for _ in range(round(seconds / 0.002)):
            q = self.follower.advance(0.002)
            self.speed = np.zeros(5) if q is None else (q - self.reference) / 0.002
            self.reference = self.reference if q is None else q
        self.joints['arm'] = self.reference.copy()

    def run(self, count):
        for _ in range(count):
            self.pass_time(PERIOD_S)
            sent = len(self.received)
            self.lead()
            self.wait(lambda sent=sent: len(self.received) > sent)
            self.follow_path()

    def rests_after(self, seconds):
        """Tell whether the arm comes to rest in time, with nothing more than it has."""
        self.follow_path(seconds)
        return float(np.abs(self.speed).max()) < 1e-9


@pytest.fixture
def rig(ros_context):
    rig = PathRig()
    try:
        rig.pass_time(PERIOD_S)
        yield rig
    finally:
        rig.close()


def test_a_step_brings_the_plan_behind_it_and_a_stop(rig):
    rig.run(15)
    last = rig.received[-1]
    assert len(last.points) > ROWS + 1
    first = rig.goal(rig.ticks)
    for index in range(ROWS + 1):
        wanted = rig.goal(rig.ticks + index)
        np.testing.assert_allclose(last.points[index].positions, wanted, atol=1e-6)
    np.testing.assert_allclose(last.points[0].velocities, [SPEED, 0, 0, 0, 0], atol=1e-6)
    assert not np.any(last.points[-1].velocities)
    assert rig.counts['executed'] == 15
    assert abs(rig.speed[0] - SPEED) < 0.01
    assert np.abs(rig.reference - first).max() < 1e-3


def test_a_hold_replaces_the_path_by_braking(rig):
    rig.run(15)
    before, sent = rig.reference.copy(), len(rig.received)
    rig.pass_time(PERIOD_S)
    rig.send(None)
    rig.wait(lambda: len(rig.received) > sent, lambda: rig.pass_time(PERIOD_S))
    assert rig.rests_after(LONGEST_S - ROWS * PERIOD_S)
    assert rig.reference[0] - before[0] < SPEED**2 / (2 * 20) * 1.2 + SPEED * 2 * PERIOD_S


def test_without_the_controller_node_the_arm_stops_by_itself(rig):
    rig.run(15)
    before = rig.reference.copy()
    assert not rig.rests_after(ROWS * PERIOD_S)  # it is still on the plan
    assert rig.rests_after(LONGEST_S - ROWS * PERIOD_S)
    assert 0 < rig.reference[0] - before[0] < SPEED * LONGEST_S
    end = rig.received[-1].points[-1].positions
    np.testing.assert_allclose(rig.reference, end, atol=1e-6)


def test_a_refused_target_makes_the_arm_brake_at_once(rig):
    rig.run(15)
    sent = len(rig.received)
    rig.pass_time(PERIOD_S)
    rig.lead(stamp_ns=rig.now_ns - 500_000_000)
    rig.wait(lambda: len(rig.received) > sent)
    assert 'old' in rig.controller._condition.refusal.text
    assert rig.rests_after(LONGEST_S - ROWS * PERIOD_S)


def test_silence_of_targets_and_states_brakes_along_the_path(rig):
    rig.run(15)
    while rig.state() != State.HOLDING:
        assert rig.now_ns < 1_010_000_000_000
        rig.pass_clock()
        rig.tick()
        rig.executor.spin_once(timeout_sec=0.02)
        rig.follow_path()
        assert rig.speed[0] > -1e-6, 'the arm went back'
    assert rig.rests_after(2 * PERIOD_S)


def test_the_e_stop_replaces_the_path_by_where_the_arm_is(rig):
    rig.run(15)
    stop = rig.node.create_publisher(Bool, 'estop', 1)
    rig.pass_time(PERIOD_S)
    sent, here = len(rig.received), rig.joints['arm'].copy()
    rig.wait(lambda: len(rig.received) > sent, lambda: stop.publish(Bool(data=True)))
    assert rig.state() == State.STOPPED
    assert len(rig.received[sent].points) == 1
    np.testing.assert_allclose(rig.received[sent].points[0].positions, here, atol=1e-9)


def test_a_step_after_a_pause_does_not_lead_the_arm_back(rig):
    rig.run(15)
    for _ in range(3):
        rig.pass_time(PERIOD_S)
        rig.follow_path()
        rig.ticks += 1
    before = rig.reference[0]
    sent = len(rig.received)
    rig.pass_time(PERIOD_S)
    rig.lead()
    rig.wait(lambda: len(rig.received) > sent)
    for _ in range(10):
        rig.follow_path(0.004)
        assert rig.reference[0] >= before - 1e-6
        before = rig.reference[0]
