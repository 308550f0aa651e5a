# SPDX-License-Identifier: Apache-2.0
"""Grippers behind actions, against servers with the real types; without its package one skips."""

import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='drivers publish through ROS')

from driver_rig import arm_of, installed, PATIENCE_S, spinning
import rclpy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from sensor_msgs.msg import JointState

from xvla_ros.action import RunTask
from xvla_ros.control.drivers import action_goal, gripper_actions, make_gripper_driver
from xvla_ros.control.drivers.gripper_actions import ActionGripper

pytestmark = pytest.mark.ros


class Gripper:
    """
    Action servers as franka_gripper has them: each goal runs in a thread of its own.

    A goal ends when `finish` is called or when it is cancelled, unless it is `stubborn`.
    """

    def __init__(self, node, actions):
        self.goals, self.events, self.stubborn = [], [], False
        self.answer, self.outcome = GoalResponse.ACCEPT, 'succeed'
        self._finished = threading.Event()
        self.servers = [
            ActionServer(
                node, kind, name, self._runner(name.rsplit('/', 1)[-1], kind),
                callback_group=ReentrantCallbackGroup(),
                goal_callback=lambda goal: self.answer,
                cancel_callback=lambda handle: CancelResponse.ACCEPT,
            )
            for name, kind in actions.items()
        ]  # fmt: skip

    def finish(self):
        """Let the goals that run end."""
        self._finished.set()

    def _runner(self, name, kind):
        def run(handle):
            self._finished.clear()  # before anybody learns that it runs, and may finish it
            self.goals.append(handle.request)
            self.events.append(f'{name} begins')
            until = time.monotonic() + PATIENCE_S
            while not self._finished.wait(0.01) and time.monotonic() < until:
                if handle.is_cancel_requested and not self.stubborn:
                    break
            outcome = 'canceled' if handle.is_cancel_requested else self.outcome
            self.events.append(f'{name} {outcome}')
            getattr(handle, outcome)()
            return kind.Result()

        return run


def again(until, send, times):
    """Send more often than this, while the node spins."""
    steps = iter(range(1000))
    until(lambda: next(steps) > times, send)


@pytest.fixture
def gripper(node, make_driver):
    """Return a function that makes a fake gripper with actions, and the driver in front of it."""
    other = rclpy.create_node('gripper')
    with spinning(other, MultiThreadedExecutor(4)):
        yield lambda actions, **settings: (Gripper(other, actions), make_driver(**settings))


@pytest.fixture
def make_driver(node):
    def make(kind, topic, **command):
        settings = {f'gripper.{key}': value for key, value in command.items()}
        settings |= {'gripper.command_topic': topic}
        arm, _ = arm_of('franka', gripper_driver=kind, **settings)
        return make_gripper_driver(node, arm.gripper)

    return make


def franka_gripper(gripper, topic):
    actions = installed('franka_msgs', 'action')
    return gripper(
        {f'{topic}/move': actions.Move, f'{topic}/grasp': actions.Grasp},
        kind='franka_gripper', topic=topic,
    )  # fmt: skip


def test_a_franka_gripper_moves_to_open_and_grasps_to_close(gripper, until):
    fake, driver = franka_gripper(gripper, 'a')
    until(lambda: fake.events, lambda: driver.send(1.0))
    fake.finish()
    until(lambda: len(fake.events) == 2)
    until(lambda: len(fake.events) == 3, lambda: driver.send(0.0))
    fake.finish()
    until(lambda: len(fake.events) == 4)
    assert fake.events == ['move begins', 'move succeed', 'grasp begins', 'grasp succeed']
    move, grasp = fake.goals
    assert (move.width, move.speed) == pytest.approx((0.08, 0.1))
    assert (grasp.width, grasp.speed, grasp.force) == pytest.approx((0.0, 0.1, 20.0))
    # Whatever width the fingers stop at counts as grasped, so that they go on holding it.
    assert grasp.width + grasp.epsilon.outer >= 0.08


def test_a_franka_gripper_runs_one_goal_at_a_time_and_the_newest_wins(gripper, until):
    fake, driver = franka_gripper(gripper, 'b')
    until(lambda: fake.events, lambda: driver.send(0.0))
    driver.send(0.8)  # never sent: something newer comes while the grasp is being cancelled
    until(lambda: len(fake.events) == 3, lambda: driver.send(1.0))
    fake.finish()
    until(lambda: len(fake.events) == 4)
    assert fake.events == ['grasp begins', 'grasp canceled', 'move begins', 'move succeed']
    assert fake.goals[1].width == pytest.approx(0.08)


def test_a_franka_gripper_that_grasps_is_not_told_to_grasp_again(gripper, until):
    """A second grasp in a row hangs for minutes (libfranka#93)."""
    fake, driver = franka_gripper(gripper, 'c')
    until(lambda: fake.events, lambda: driver.send(0.3))
    fake.finish()
    until(lambda: len(fake.events) == 2)
    again(until, lambda: driver.send(0.1), times=20)
    assert fake.events == ['grasp begins', 'grasp succeed']


def test_a_goal_that_cannot_be_cancelled_does_not_block_for_ever(gripper, until, monkeypatch):
    """A stop of libfranka does not always stop (libfranka#18, #111)."""
    monkeypatch.setattr(action_goal, 'PATIENCE_S', 0.3)
    fake, driver = franka_gripper(gripper, 'd')
    fake.stubborn = True
    until(lambda: fake.events, lambda: driver.send(0.0))
    until(lambda: len(fake.events) == 2, lambda: driver.send(1.0))
    assert fake.events == ['grasp begins', 'move begins']
    fake.finish()
    until(lambda: len(fake.events) == 4)


def test_a_goal_that_was_refused_is_sent_again_and_one_that_failed_is_not(gripper, until):
    fake, driver = franka_gripper(gripper, 'e')
    fake.answer, fake.outcome = GoalResponse.REJECT, 'abort'
    again(until, lambda: driver.send(1.0), times=20)
    assert not fake.goals
    fake.answer = GoalResponse.ACCEPT
    until(lambda: fake.events, lambda: driver.send(1.0))
    fake.finish()
    until(lambda: len(fake.events) == 2)
    again(until, lambda: driver.send(1.0), times=20)
    assert fake.events == ['move begins', 'move abort']


@pytest.mark.parametrize(('opening', 'position'), [(1.0, 0.04), (0.0, 0.0)])
def test_a_gripper_command_carries_position_and_effort(gripper, until, opening, position):
    kind = installed('control_msgs', 'action').GripperCommand
    name = f'f/gripper_action{round(opening)}'
    fake, driver = gripper({name: kind}, kind='gripper_command', topic=name, command_open=0.04)
    until(lambda: fake.events, lambda: driver.send(opening))
    fake.finish()
    until(lambda: len(fake.events) == 2)
    command = fake.goals[0].command
    assert (command.position, command.max_effort) == pytest.approx((position, 20.0))


PARALLEL = 'parallel_gripper_command'


@pytest.mark.parametrize(('opening', 'position'), [(1.0, 0.04), (0.0, 0.0)])
def test_a_parallel_gripper_command_carries_one_joint(gripper, until, opening, position):
    kind = installed('control_msgs', 'action').ParallelGripperCommand
    name = f'p{round(opening)}/gripper_cmd'
    fake, driver = gripper({name: kind}, kind=PARALLEL, topic=name, command_open=0.04)
    until(lambda: fake.events, lambda: driver.send(opening))
    fake.finish()
    until(lambda: len(fake.events) == 2)
    check_parallel(fake.goals[0].command, position)


def check_parallel(command, position):
    assert list(command.name) == ['fr3_finger_joint1']
    assert list(command.position) == pytest.approx([position])
    assert (list(command.velocity), list(command.effort)) == ([0.1], [20.0])


def test_a_parallel_gripper_command_fits_the_actions_definition(make_driver, monkeypatch):
    """Without control_msgs: its goal is one sensor_msgs/JointState, named `command`."""
    kind = SimpleNamespace(Goal=lambda: SimpleNamespace(command=JointState()))
    monkeypatch.setattr(
        gripper_actions, 'messages', lambda *_: SimpleNamespace(ParallelGripperCommand=kind)
    )
    monkeypatch.setattr(ActionGripper, '_client', lambda self, action, name: name)
    driver = make_driver(kind=PARALLEL, topic='q/gripper_cmd', command_open=0.04)
    driver._command(1.0)
    client, goal = driver._next
    assert client == 'q/gripper_cmd'
    check_parallel(goal.command, 0.04)


def test_an_absent_gripper_is_commanded_as_soon_as_it_is_there(gripper, make_driver, until):
    kind = installed('control_msgs', 'action').GripperCommand
    driver = make_driver(kind='gripper_command', topic='g/gripper_action')
    again(until, lambda: driver.send(1.0), times=5)
    fake, _ = gripper({'g/gripper_action': kind}, kind='gripper_command', topic='unused')
    until(lambda: fake.events, lambda: driver.send(1.0))
    fake.finish()
    until(lambda: len(fake.events) == 2)


class AnyGripper(ActionGripper):
    """Sends goals of an action that is always installed, the opening in words."""

    def __init__(self, node, topic):
        super().__init__(node, None)
        self._server = self._client(RunTask, topic)

    def _command(self, opening):
        self._request(self._server, RunTask.Goal(instruction=str(opening)))


def test_a_goal_that_waits_when_the_robot_stops_is_never_sent(gripper, node, until):
    fake, _ = gripper({'h/gripper': RunTask}, kind='float64_array', topic='unused')
    driver = AnyGripper(node, 'h/gripper')
    until(lambda: fake.events, lambda: driver.send(0.0))
    until(lambda: driver._running.accepted)
    driver.send(1.0)  # waits for the end of the first
    driver.hold()
    until(lambda: driver._running is None)
    assert fake.events == ['gripper begins', 'gripper canceled']
    assert driver._next is None
    until(lambda: len(fake.goals) == 2, lambda: driver.send(1.0))  # motion again
    assert [goal.instruction for goal in fake.goals] == ['0.0', '1.0']
    driver.hold()  # nothing waits: what runs was the last command, and is not sent again
    fake.finish()
    until(lambda: driver._running is None, lambda: driver.send(1.0))
    again(until, lambda: driver.send(1.0), times=5)
    assert len(fake.goals) == 2
