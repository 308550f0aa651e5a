# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS profiles: no camera image is lost; who commands shares no memory with listeners."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

from xvla_ros import bringup
from xvla_ros.bringup import choose_transport, CONTROL, IMAGES, PROFILE_VARIABLES, RANGE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / 'config' / 'fastdds.xml'
FRAMES = 90
AHEAD = 10  # frames of a third of a second: half of the memory that the profile shares
NODE = """
import sys, threading, time
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
frames, qos = {frames}, QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
rclpy.init()
deadline = time.monotonic() + 100
"""
# Reads what the subscriber has got, and waits for one that is behind by more than AHEAD frames:
# whether it gets a processor is not what is tested. Frames before number 0 let the two ends find
# each other in both directions; they are not counted.
PUBLISHER = """
node = rclpy.create_node('image_publisher')
publisher = node.create_publisher(Image, 'image', qos)
image = Image(height=480, width=640, encoding='rgb8', step=1920, data=bytes(640 * 480 * 3))
due, number, got = time.monotonic(), -1, []
reader = threading.Thread(target=lambda: [got.append(int(n)) for n in sys.stdin], daemon=True)
reader.start()
while number < frames and time.monotonic() < deadline:
    if got and number <= got[-1] + {ahead}:
        number += 1
    elif got:
        time.sleep(0.005)
        continue
    image.header.frame_id = str(number)
    publisher.publish(image)
    due = max(due + 1 / 30, time.monotonic() - 1 / 30)
    time.sleep(max(0.0, due - time.monotonic()))
reader.join()  # until the subscriber has ended
"""
SUBSCRIBER = """
node = rclpy.create_node('image_subscriber')
received = set()
def keep(image):
    received.add(int(image.header.frame_id))
    print(image.header.frame_id, flush=True)
subscription = node.create_subscription(Image, 'image', keep, qos)
while frames - 1 not in received and time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
print(len({{number for number in received if number >= 0}}), file=sys.stderr)
"""


def start(code, **pipes):
    environment = {
        **os.environ,
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILE),
        'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE),
    }
    return subprocess.Popen(
        [sys.executable, '-c', (NODE + code).format(frames=FRAMES, ahead=AHEAD)],
        env=environment,
        text=True,
        **pipes,
    )


@pytest.mark.ros
def test_no_image_is_lost_between_two_processes():
    pytest.importorskip('rclpy', reason='needs ROS')
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'):
        pytest.skip('another middleware is chosen')
    pipe = subprocess.PIPE
    with (
        start(SUBSCRIBER, stdout=pipe, stderr=pipe) as subscriber,
        start(PUBLISHER, stdin=subscriber.stdout),
    ):
        said = subscriber.stderr.read()
    assert said.splitlines()[-1:] == [f'{FRAMES}']


PORTS = """
import sys, os
from xvla_ros.bringup import choose_transport
choose_transport(sys.argv[1])
import rclpy
rclpy.init()
node = rclpy.create_node('chooser')
maps = open('/proc/self/maps').read()
print(maps.count('/dev/shm/fastrtps_port'), os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'])
"""


@pytest.mark.ros
@pytest.mark.parametrize('reach', ['LOCALHOST', 'SUBNET'])
@pytest.mark.parametrize('profile', [IMAGES, CONTROL])
def test_who_commands_has_no_shared_memory_that_a_listener_could_make_it_wait_for(reach, profile):
    pytest.importorskip('rclpy', reason='needs ROS')
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'):
        pytest.skip('another middleware is chosen')
    command = [sys.executable, '-c', PORTS, profile]
    environment = {**os.environ, RANGE_VARIABLE: reach}
    for name in PROFILE_VARIABLES:
        environment.pop(name, None)
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    ports, chosen = told.stdout.split()
    assert (int(ports) > 0) == (profile == IMAGES)
    assert chosen == ('SYSTEM_DEFAULT' if (reach, profile) == ('LOCALHOST', CONTROL) else reach)


@pytest.fixture
def variables(monkeypatch):
    """Return the environment, without a choice of transport."""
    for name in (*PROFILE_VARIABLES, RANGE_VARIABLE, 'RMW_IMPLEMENTATION', 'ROS_STATIC_PEERS'):
        monkeypatch.setenv(name, '')  # restored by pytest, whatever the code under test sets
        monkeypatch.delenv(name)
    return monkeypatch


def chosen():
    """Return the profile's file name and the range."""
    (profile,) = {Path(os.environ.get(name, '')).name for name in PROFILE_VARIABLES}
    return profile, os.environ.get(RANGE_VARIABLE)


@pytest.mark.parametrize('reach', [None, 'SUBNET', 'LOCALHOST'])
def test_a_child_gets_back_what_its_parent_gave_up(variables, reach):
    if reach:
        variables.setenv(RANGE_VARIABLE, reach)
    choose_transport(CONTROL)
    assert chosen()[0] == (bringup.CONTROL_LOCALHOST if reach == 'LOCALHOST' else CONTROL)
    choose_transport(IMAGES)
    assert chosen() == (IMAGES, reach)


def test_a_copy_of_ours_is_ours_and_any_other_profile_is_the_users(variables, tmp_path):
    copy = tmp_path / 'mine.xml'
    copy.write_bytes(PROFILE.read_bytes())
    variables.setenv(PROFILE_VARIABLES[0], str(copy))
    choose_transport(CONTROL)
    assert chosen()[0] == CONTROL
    copy.write_text('<dds/>')
    for name in PROFILE_VARIABLES:
        variables.setenv(name, str(copy))
    choose_transport(CONTROL)
    assert chosen()[0] == 'mine.xml'


def test_another_middleware_is_left_alone(variables):
    variables.setenv(RANGE_VARIABLE, 'LOCALHOST')
    variables.setenv('RMW_IMPLEMENTATION', 'rmw_cyclonedds_cpp')
    choose_transport(CONTROL)
    assert chosen() == ('', 'LOCALHOST')


def test_static_peers_keep_the_range(variables):
    variables.setenv(RANGE_VARIABLE, 'LOCALHOST')
    variables.setenv('ROS_STATIC_PEERS', '192.168.1.7')
    choose_transport(CONTROL)
    assert chosen() == (CONTROL, 'LOCALHOST')
