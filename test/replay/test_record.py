# SPDX-License-Identifier: Apache-2.0
"""The recorder on live topics: what it writes first, what survives its death, what it refuses."""

import array
import os
import signal
import subprocess
import sys
import threading
import time

from bags import ROOT
import pytest

rclpy = pytest.importorskip('rclpy', reason='a recorder listens to ROS')

from sensor_msgs.msg import Image, JointState  # noqa: E402

from xvla_ros.core.embodiment import load_embodiment  # noqa: E402
from xvla_ros.model.miniature import write_small  # noqa: E402
from xvla_ros.replay.bag import open_bag  # noqa: E402
from xvla_ros.replay.fingerprint import fingerprint  # noqa: E402
from xvla_ros.replay.recording import RECORDING_TOPIC  # noqa: E402
from xvla_ros.tools.cli import main  # noqa: E402

CONFIG = ROOT / 'config' / 'franka_sim.yaml'
PATIENCE_S = 120.0
CAMERA = '/camera/main/image_raw'


@pytest.fixture
def robot():
    """Publish joint states and pictures at 50 Hz, in a context of its own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('robot', context=context)
    states = node.create_publisher(JointState, 'joint_states', 10)
    images = node.create_publisher(Image, CAMERA[1:], 10)
    stop = threading.Event()
    picture = Image(height=48, width=64, encoding='rgb8', step=192)
    picture.data = array.array('B', bytes(48 * 192))

    def publish():
        while not stop.wait(0.02):
            state = JointState(name=['a'], position=array.array('d', [0.0]))
            state.header.stamp = picture.header.stamp = node.get_clock().now().to_msg()
            states.publish(state)
            images.publish(picture)

    thread = threading.Thread(target=publish)
    thread.start()
    yield
    stop.set()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def record(out, *arguments):
    """Start a recorder, and return its process once images are in the bag."""
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'record', '--embodiment', str(CONFIG)]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen([*command, '--out', str(out), *arguments], env=env)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None
        if any(file.stat().st_size > 500_000 for file in out.glob('*.mcap')):
            return process
        time.sleep(0.1)  # a poll of the file system; the deadline decides
    process.kill()
    raise AssertionError('nothing was recorded')


def test_a_recording_says_first_what_it_is(robot, tmp_path):
    checkpoint = write_small(tmp_path / 'small')
    arguments = ('--checkpoint', str(checkpoint), '--instruction', 'pick up the red block')
    process = record(tmp_path / 'bag', *arguments)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    bag = open_bag(tmp_path / 'bag')
    assert not bag.gaps
    assert next(bag.messages()).topic == RECORDING_TOPIC
    assert bag.recording.fingerprint == fingerprint(checkpoint)
    assert bag.recording.instruction == 'pick up the red block'
    assert bag.recording.load_embodiment('test', {}) == load_embodiment(CONFIG)
    assert bag.topics[CAMERA].count > 10
    assert (tmp_path / 'bag' / 'metadata.yaml').exists()


def test_a_killed_recorder_leaves_a_bag(robot, tmp_path):
    checkpoint = write_small(tmp_path / 'small')
    process = record(tmp_path / 'bag', '--checkpoint', str(checkpoint))
    process.kill()
    process.wait()
    bag = open_bag(tmp_path / 'bag')
    assert bag.recording.checkpoint == str(checkpoint)
    assert bag.topics[CAMERA].count > 10
    assert len(bag.gaps) == 1


def test_what_cannot_be_recorded_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'notes').write_text('mine')
    checkpoint = str(write_small(tmp_path / 'small'))
    arguments = ['record', '--embodiment', str(CONFIG), '--checkpoint', checkpoint]
    for more, says in (
        (['--out', str(tmp_path / 'full')], 'a folder of its own'),
        (['--out', str(tmp_path / 'bag'), '--topic', '/imu'], 'expected NAME:TYPE'),
        (['--out', str(tmp_path / 'bag'), '--topic', '/x:no_msgs/msg/X'], 'no_msgs'),
    ):
        assert main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert len(error.strip().splitlines()) == 1
