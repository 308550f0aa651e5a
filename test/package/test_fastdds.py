# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS profile: camera images reach another process, all of them."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

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
