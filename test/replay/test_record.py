# SPDX-License-Identifier: Apache-2.0
"""The recorder on live topics: what it writes first, what survives its death, what it refuses."""

import array
import signal
import subprocess
import sys
import threading
import time

from bags import ROOT
from checkout import with_checkout
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='a recorder listens to ROS')

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import (  # noqa: E402
    CompressedImage,
    Image,
    JointState,
)
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from xvla_ros.bags.bag import open_bag  # noqa: E402
from xvla_ros.bags.fingerprint import fingerprint  # noqa: E402
from xvla_ros.bags.images import COLOURS, compressed_image, raw_image  # noqa: E402
from xvla_ros.bags.manifest import RECORDING_TOPIC  # noqa: E402
from xvla_ros.bags.message_types import header_stamp_ns  # noqa: E402
from xvla_ros.core.embodiment import load_embodiment  # noqa: E402
from xvla_ros.inputs.images import image_from_message  # noqa: E402
from xvla_ros.testing.miniature import write_small  # noqa: E402
from xvla_ros.tools.cli import main  # noqa: E402

CONFIG = ROOT / 'config' / 'franka_sim.yaml'
PATIENCE_S = 120.0
CAMERA = '/camera/main/image_raw'
PACKED = CAMERA + '/compressed'


@pytest.fixture
def robot():
    """Publish /clock, joint states and images at 50 Hz, in a context of its own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('robot', context=context)
    states = node.create_publisher(JointState, 'joint_states', 10)
    late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_publisher(String, 'lab/calibration', late).publish(String(data='latched'))
    images = node.create_publisher(Image, CAMERA[1:], 10)
    clock = node.create_publisher(Clock, '/clock', 1)
    stop = threading.Event()
    image = Image(height=48, width=64, encoding='rgb8', step=192)
    image.data = array.array('B', np.random.default_rng(0).bytes(48 * 192))

    def publish():
        while not stop.wait(0.02):
            state = JointState(name=['a'], position=array.array('d', [0.0]))
            state.header.stamp = image.header.stamp = node.get_clock().now().to_msg()
            clock.publish(Clock(clock=state.header.stamp))
            states.publish(state)
            images.publish(image)

    thread = threading.Thread(target=publish)
    thread.start()
    yield
    stop.set()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def record(out, *arguments, size=200_000):
    """Start a recorder, and return its process once images are in the bag."""
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'record', '--embodiment', str(CONFIG)]
    env = with_checkout()
    process = subprocess.Popen([*command, '--out', str(out), *arguments], env=env)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None
        if any(file.stat().st_size > size for file in out.glob('*.mcap')):
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
    assert bag.topics[PACKED].count > 10
    assert (tmp_path / 'bag' / 'metadata.yaml').exists()


def test_a_killed_recorder_leaves_a_bag(robot, tmp_path):
    checkpoint = write_small(tmp_path / 'small')
    process = record(tmp_path / 'bag', '--checkpoint', str(checkpoint))
    process.kill()
    process.wait()
    bag = open_bag(tmp_path / 'bag')
    assert bag.recording.checkpoint == str(checkpoint)
    assert bag.topics[PACKED].count > 10
    assert len(bag.gaps) == 1


def test_what_cannot_be_recorded_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'notes').write_text('mine')
    checkpoint = str(write_small(tmp_path / 'small'))
    arguments = ['record', '--embodiment', str(CONFIG), '--checkpoint', checkpoint]
    for more, says in (
        (['--out', str(tmp_path / 'full')], 'a folder of its own'),
        (['--out', str(tmp_path / 'bag'), '--topic', '/imu'], 'expected NAME:TYPE'),
        (['--out', str(tmp_path / 'bag'), '--set', 'limits.no_such=1'], 'no_such'),
        (['--out', str(tmp_path / 'bag'), '--topic', '/x:no_msgs/msg/X'], 'no_msgs'),
    ):
        assert main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert len(error.strip().splitlines()) == 1


def test_images_as_they_came_and_patterns(robot, tmp_path):
    checkpoint = write_small(tmp_path / 'small')
    arguments = ('--images', 'raw', '--include', '/lab/.*', '--exclude', '/joint_s.*')
    process = record(tmp_path / 'bag', '--checkpoint', str(checkpoint), *arguments)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    bag = open_bag(tmp_path / 'bag')
    assert bag.topics[CAMERA].count > 10
    assert bag.topics['/lab/calibration'].latched
    assert '/joint_states' not in bag.topics


@pytest.mark.parametrize(('form', 'exact'), [('png', True), ('jpeg', False)])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'])
def test_an_image_survives_its_compression(form, exact, encoding):
    channels, rgb = COLOURS[encoding]
    rows = np.linspace(0, 255, 40 * 60 * channels).astype(np.uint8).reshape(40, 60, channels)
    message = Image(height=40, width=60, encoding=encoding, step=60 * channels)
    message.data = array.array('B', rows.tobytes())
    packed = compressed_image(serialize_message(message), form)
    image = image_from_message(deserialize_message(packed, CompressedImage), 'test')
    expected = np.broadcast_to(rows[..., list(rgb)], (40, 60, 3))
    apart = np.abs(image.astype(int) - expected)
    assert apart.max() == 0 if exact else apart.mean() < 4
    again = deserialize_message(raw_image(packed), Image)
    assert (image_from_message(again, 'test') == image).all()


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1', 'bayer_rggb8', 'yuv422'])
def test_what_is_no_image_of_eight_bits_is_left_as_it_is(encoding):
    message = Image(height=4, width=4, encoding=encoding, step=16)
    message.data = array.array('B', bytes(64))
    assert compressed_image(serialize_message(message), 'jpeg') is None


def start(ask):
    """Begin an episode as soon as the recorder has heard the clock."""
    until = time.monotonic() + PATIENCE_S
    while not (answer := ask('start')).success:
        assert answer.message == 'there is no /clock yet', answer.message
        assert time.monotonic() < until, answer.message
        time.sleep(0.05)  # a poll of the service; the deadline decides


def test_episodes_are_bags_of_their_own(robot, tmp_path):
    checkpoint = str(write_small(tmp_path / 'small'))
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'record', '--embodiment', str(CONFIG)]
    out = tmp_path / 'takes'
    process = subprocess.Popen(
        [*command, '--checkpoint', checkpoint, '--episodes', '--include', '/lab/.*', '--out', out],
        env=with_checkout(),
    )  # fmt: skip
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('operator', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def call(kind, name, request):
        client = node.create_client(kind, f'/xvla_record/{name}')
        assert client.wait_for_service(PATIENCE_S)
        future = client.call_async(request)
        executor.spin_until_future_complete(future, PATIENCE_S)
        return future.result()

    def ask(name):
        return call(Trigger, name, Trigger.Request())

    def prompt(text):
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        call(SetParameters, 'set_parameters', SetParameters.Request(
            parameters=[Parameter(name='prompt', value=value)]
        ))  # fmt: skip

    def wait_for(folder):
        until = time.monotonic() + PATIENCE_S
        while not any(f.stat().st_size > 60_000 for f in folder.glob('*.mcap')):
            assert time.monotonic() < until, 'nothing is recorded'
            time.sleep(0.1)  # a poll of the file system; the deadline decides

    try:
        assert not ask('stop').success
        for number, text in enumerate(('pick up the cup', 'open the door', 'wave')):
            prompt(text)
            start(ask)
            assert not ask('start').success
            wait_for(out / f'episode_{min(number, 1):03d}')  # that of the discarded one is free
            ended = ask('discard' if number == 1 else 'stop')
            assert ended.success, ended.message
        assert 'messages' in ended.message
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    assert sorted(folder.name for folder in out.iterdir()) == ['episode_000', 'episode_001']
    for number, text in ((0, 'pick up the cup'), (1, 'wave')):
        bag = open_bag(out / f'episode_{number:03d}')
        assert bag.recording.instruction == text
        assert bag.topics['/lab/calibration'].count == 1
        stamps = [header_stamp_ns(raw.data) for raw in bag.messages({'/joint_states'})]
        assert len(set(stamps)) == len(stamps) > 3
        assert bag.topics[PACKED].count > 3
        assert not bag.gaps
