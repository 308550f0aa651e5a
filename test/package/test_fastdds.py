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
NODE = """
import sys, time
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
frames, qos = {frames}, QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
rclpy.init()
deadline = time.monotonic() + 30
"""
PUBLISHER = """
node = rclpy.create_node('image_publisher')
publisher = node.create_publisher(Image, 'image', qos)
while publisher.get_subscription_count() < 1 and time.monotonic() < deadline:
    time.sleep(0.02)
image = Image(height=480, width=640, encoding='rgb8', step=1920, data=bytes(640 * 480 * 3))
due = time.monotonic()
# Frames before number 0 let the two ends find each other in both directions; they are not counted.
for number in range(-30, frames):
    image.header.frame_id = str(number)
    publisher.publish(image)
    due += 1 / 30
    time.sleep(max(0.0, due - time.monotonic()))
sys.stdin.read()
"""
SUBSCRIBER = """
node = rclpy.create_node('image_subscriber')
received = set()
keep = lambda image: received.add(int(image.header.frame_id))
subscription = node.create_subscription(Image, 'image', keep, qos)
while frames - 1 not in received and time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
print(len({number for number in received if number >= 0}))
"""


def start(code):
    environment = {
        **os.environ,
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILE),
        'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE),
    }
    return subprocess.Popen(
        [sys.executable, '-c', NODE.format(frames=FRAMES) + code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.ros
def test_no_image_is_lost_between_two_processes():
    pytest.importorskip('rclpy', reason='needs ROS')
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'):
        pytest.skip('another middleware is chosen')
    with start(SUBSCRIBER) as subscriber, start(PUBLISHER) as publisher:
        received = int(subscriber.communicate(timeout=60)[0])
        publisher.stdin.close()
    assert received == FRAMES


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
