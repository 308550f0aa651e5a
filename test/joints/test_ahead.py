# SPDX-License-Identifier: Apache-2.0
"""What the policy sends ahead of a target: the targets that it sends later, as far as it knows."""

from joint_robots import JointRobot, joints
import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError, Reason
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.worker_messages import Answer, Timing

MS, ROWS = 1_000_000, 5


class Loop:
    """The control loop of a joint-space robot that is always where it was told to be."""

    def __init__(self, name, **changes):
        self.robot = JointRobot(name, **{'control.ahead_s': 0.1} | changes)
        self.control, self.now_ns = PolicyControl(self.robot.embodiment), 10_000 * MS
        self.measured = self.robot.arms(self.robot.home)
        self.epoch = self.control.set_task('pick up the red block')
        if not self.control.armed:
            self.control.set_armed(True)

    def answer(self, by_rad):
        """Let a chunk arrive that moves all joints by an angle in half a second."""
        q, way = joints(self.measured), np.linspace(0, by_rad, 12)[:, None]
        chunk = self.robot.chunk(q + way, self.now_ns - 20 * MS, period_s=0.05)
        answer = Answer(chunk=chunk, arms=self.measured, epoch=self.epoch, timing=Timing())
        assert self.control.judge(answer, self.now_ns).queued

    def tick(self):
        self.now_ns += 20 * MS
        command = self.control.tick(self.now_ns, self.measured, Reason())
        self.measured = command.targets or self.measured
        return command


@pytest.mark.parametrize('name', ['so101', 'so101_pair', 'franka_joint'])
def test_what_is_sent_ahead_is_what_is_sent_later(name):
    loop = Loop(name)
    loop.answer(0.05)
    commands = [loop.tick() for _ in range(29)]
    compared = 0
    for tick, command in enumerate(commands[: -ROWS - 1]):
        assert len(command.ahead) == ROWS
        for row, states in enumerate(command.ahead):
            later = commands[tick + 1 + row].targets
            sent = np.concatenate([state[:-1] for state in states])
            np.testing.assert_allclose(sent, joints(later), atol=1e-9)
            compared += 1
    assert compared == ROWS * 23


def test_at_the_end_of_the_plan_nothing_is_sent_ahead():
    loop = Loop('so101')
    loop.answer(0.02)
    lengths = []
    while (command := loop.tick()).targets:
        lengths.append(len(command.ahead))
    assert lengths[-ROWS:] == sorted(lengths[-ROWS:], reverse=True)
    assert lengths[-1] < ROWS
    assert not command.ahead


def test_a_hold_sends_nothing_ahead():
    loop = Loop('so101')
    loop.answer(0.05)
    assert [bool(loop.tick().ahead) for _ in range(5)][-1]
    loop.control.block('test', Reason('test', 'for this test'), loop.now_ns)
    command = loop.tick()
    assert command.targets is None
    assert not command.ahead


def test_without_the_setting_nothing_is_sent_ahead():
    loop = Loop('so101', **{'control.ahead_s': 0.0})
    loop.answer(0.05)
    assert not any(loop.tick().ahead for _ in range(10))


@pytest.mark.parametrize(
    ('file', 'changes'),
    [
        ('so101_sim.yaml', {'control.ahead_s': 0.2}),
        ('so101_sim.yaml', {'control.ahead_s': 0.05, 'arms.arm.driver': 'joint_position'}),
        ('franka_sim.yaml', {'control.ahead_s': 0.05}),
        ('aloha.yaml', {'control.ahead_s': 0.05}),
    ],
)
def test_a_robot_that_cannot_be_handed_a_path_is_refused(file, changes):
    path = shared_file('config', file)
    with pytest.raises(ConfigError, match=r'control\.ahead_s'):
        load_embodiment(path, changes)
    load_embodiment(path, changes | {'control.ahead_s': 0.0})
