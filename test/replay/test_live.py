# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Bags as live topics: the timing, and the live policy against the deterministic replay."""

from argparse import ArgumentParser
from contextlib import contextmanager
from dataclasses import replace
import signal
import subprocess
import sys
import threading
import time

from bags import ROOT
from checkout import with_checkout
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='topics need ROS')

from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_srvs.srv import Trigger

from xvla_ros.bags.bag import open_bag
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.msg import ActionChunk, PolicyStatus
from xvla_ros.replay.results import read_table
from xvla_ros.testing.miniature import write_small
from xvla_ros.tools.cli import main

PATIENCE_S = 120.0
INSTRUCTION = 'pick up the red block'
# Sensors are played best effort, as they were offered to the recorder.
AS_OFFERED = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
CAMERA = '/camera/main/image_raw/compressed'


@pytest.fixture(scope='module')
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@contextmanager
def process(*command):
    """Run one of our commands; it must end cleanly when it is told to."""
    env = with_checkout(OMP_NUM_THREADS='1')
    running = subprocess.Popen([sys.executable, '-m', *command], env=env, cwd=ROOT)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0


class Listener:
    """Keeps what comes over some topics."""

    def __init__(self):
        self.node = rclpy.create_node('listener')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def listen(self, kind, topic, qos):
        heard = []
        self.node.create_subscription(kind, topic, lambda m: heard.append((time.time(), m)), qos)
        return heard

    def wait(self, condition, what):
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until, what
            self._executor.spin_once(timeout_sec=0.1)

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def listener(ros):
    listener = Listener()
    yield listener
    listener.close()


def stamps_s(heard):
    return np.array([stamp_to_ns(message.header.stamp) * 1e-9 for _, message in heard])


def test_topics_come_with_their_timing_and_fresh_stamps(simulated, listener):
    # Deep enough for all that comes while this process waits for a processor.
    patient = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
    joints = listener.listen(JointState, '/joint_states', patient)
    images = listener.listen(CompressedImage, CAMERA, patient)
    bag = open_bag(simulated)
    count = bag.topics['/joint_states'].count
    with process('xvla_ros.tools.cli', 'replay', str(simulated), '--rate', '2') as player:
        listener.wait(lambda: player.poll() is not None, 'the bag ends')
    listener.wait(lambda: len(joints) >= count * 0.9, 'the joint states')
    listener.wait(lambda: len(images) > bag.topics[CAMERA].count * 0.8, 'the images')
    listener.wait(lambda: np.ptp(stamps_s(joints)) > bag.duration_s / 2 * 0.95, 'the last ones')
    assert len(joints) <= count
    due_s = stamps_s(joints)
    assert np.ptp(due_s) == pytest.approx(bag.duration_s / 2, rel=0.05)
    assert abs(due_s[-1] - time.time()) < 30.0
    late_s = np.array([heard_s for heard_s, _ in joints]) - due_s
    assert late_s.min() > -0.05, 'ahead of its time'
    since_s = due_s - due_s[0]
    behind = (late_s / np.maximum(since_s, 1e-9))[since_s > 0.3]
    assert behind.min() < 0.25, 'the pace is too slow: not one has caught up'


def test_a_start_beyond_the_end_is_refused_in_one_line(simulated, capsys):
    assert main(['replay', str(simulated), '--start', '100']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('is 4.0 s long: cannot start 100 s into it')


def test_the_live_policy_answers_as_the_deterministic_replay(simulated, listener, tmp_path):
    """Same observation stamps, same chunks: one pipeline, whoever drives it."""
    checkpoint = write_small(tmp_path / 'small')
    parameters = tmp_path / 'robot.yaml'
    bag = open_bag(simulated)
    parameters.write_text(bag.recording.embodiment)
    told = {'policy.checkpoint': checkpoint, 'policy.seed': 0, 'policy.instruction': INSTRUCTION}
    options = [part for n, value in told.items() for part in ('-p', f'{n}:={value}')]
    late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    chunks = listener.listen(ActionChunk, '/policy_node/action_chunk', 50)
    status = listener.listen(PolicyStatus, '/policy_node/status', late)
    arguments = ('--ros-args', '--params-file', str(parameters), '-p', 'use_sim_time:=true')
    with process('xvla_ros.nodes.policy', *arguments, *options):
        listener.wait(lambda: status and status[-1][1].ticks, 'the policy is active')
        play = ('replay', str(simulated), '--clock', '--keep-stamps', '--rate', '0.5')
        with process('xvla_ros.tools.cli', *play) as player:
            listener.wait(lambda: player.poll() is not None, 'the bag ends')
    assert len(chunks) >= 3
    out = tmp_path / 'out'
    arguments = ['replay', str(simulated), '--deterministic', '--out', str(out)]
    options = ['--checkpoint', str(checkpoint), '--instruction', INSTRUCTION]
    assert main([*arguments, *options, '--latency-ms', '1']) == 0
    table = read_table(out / 'chunks.csv')
    compared = 0
    for _, message in chunks:
        rows = table.values[table.stamps_ns == stamp_to_ns(message.header.stamp)][:, 0]
        live = np.array([_row(step.targets[0]) for step in message.steps])
        if len(rows):
            compared += 1
            assert np.abs(rows - live).max() < 1e-6
    assert compared >= 3


def _row(target):
    p, q = target.pose.position, target.pose.orientation
    return (p.x, p.y, p.z, q.x, q.y, q.z, q.w, target.gripper)


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (('--set', 'limits.no_such=1'), 'no_such'),
        (('--all', '--set', 'policy.threads=many'), 'policy.threads'),
        (('--topics', '/nothing'), "no topic '/nothing'"),
        (('--remap', '/nothing:=/x'), 'no topic /nothing'),
    ],
)
def test_nonsense_is_refused_before_anything_is_played(simulated, capsys, arguments, says):
    assert main(['replay', str(simulated), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_type_that_is_not_installed_costs_only_its_topic(simulated):
    from xvla_ros.nodes.bags.selection import choose, Live

    bag = open_bag(simulated)
    bag.topics['/lab/force'] = replace(bag.topics['/joint_states'], kind='lab_msgs/msg/Force')
    program = choose(bag, Live(everything=True))
    assert set(program.topics) == set(bag.topics) - {'/lab/force'}
    (remark,) = program.remarks
    assert remark.startswith('/lab/force is not played')
    assert 'ros-jazzy-lab-msgs' in remark


def test_images_are_played_as_the_robot_publishes_them(simulated, listener):
    """The file names raw topics, the bag holds JPEG."""
    images = listener.listen(Image, '/camera/main/image_raw', AS_OFFERED)
    robot = ('--embodiment', str(ROOT / 'config' / 'franka_sim.yaml'))
    with process(
        'xvla_ros.tools.cli', 'replay', str(simulated), *robot, '--duration', '1'
    ) as player:
        listener.wait(lambda: images or player.poll() is not None, 'an image')
        listener.wait(lambda: player.poll() is not None, 'the end')
    assert len(images) >= 1
    (height, width) = images[0][1].height, images[0][1].width
    assert (images[0][1].encoding, width, height) == ('rgb8', 96, 72)


def test_a_player_pauses_and_steps(simulated, listener):
    joints = listener.listen(JointState, '/joint_states', AS_OFFERED)
    play = ('replay', str(simulated), '--pause', '--topics', '/joint_states')
    with process('xvla_ros.tools.cli', *play) as player:

        def ask(name):
            client = listener.node.create_client(Trigger, f'/xvla_replay/{name}')
            listener.wait(client.service_is_ready, name)
            answer = client.call_async(Trigger.Request())
            listener.wait(answer.done, name)
            return answer.result().success

        for count in (1, 2, 3):
            assert ask('step')
            listener.wait(lambda count=count: len(joints) == count, 'one more message')
        first, second, third = (stamp_to_ns(m.header.stamp) for _, m in joints)
        assert third > second > first
        assert ask('resume')
        listener.wait(lambda: len(joints) > 20, 'the others')
        assert ask('pause')
        assert player.poll() is None
        assert ask('resume')
        assert not ask('step')


@pytest.mark.parametrize('rate', [0.5, 3.0])
def test_a_pause_moves_what_follows_by_its_length(rate):
    from xvla_ros.nodes.bags.playhead import Playhead

    stop, head = threading.Event(), Playhead(rate)
    assert not head.wait(10_000_000, stop)
    assert head.shift_ns == 0
    head.pause()
    assert head.step()
    assert not head.wait(50_000_000, stop)
    before = head.shift_ns
    time.sleep(0.05)
    head.resume()
    assert not head.step()
    assert head.shift_ns - before >= 45_000_000  # it stood still that long
    stop.set()
    assert head.wait(10**12, stop)


def test_the_launch_file_plays_a_bag_for_the_robot_and_names_it_was_given():
    from xvla_ros.tools.replay import add_arguments, live_command

    command = live_command('lab.db3', '0.5', 'franka', {'cameras.main.topic': '/cam0/image'})
    parser = ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(command[2:])
    assert (args.embodiment, args.rate, args.clock, args.keep_stamps) == (
        'franka',
        0.5,
        True,
        True,
    )
    assert args.set == [('cameras.main.topic', '/cam0/image')]
