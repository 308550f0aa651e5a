# SPDX-License-Identifier: Apache-2.0
"""A subscription that hears every publisher, once, over real DDS."""

from itertools import product
import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from xvla_ros.nodes.common.any_publisher import AnyPublisher

pytestmark = pytest.mark.ros
PATIENCE_S = 20.0
QOS = {
    f'{r.name}-{d.name}-{v.name}': QoSProfile(
        depth=10, reliability=r, durability=d, liveliness=v
    )
    for r, d, v in product(
        (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
        (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL),
        (LivelinessPolicy.AUTOMATIC, LivelinessPolicy.MANUAL_BY_TOPIC),
    )
}  # fmt: skip


@pytest.fixture
def serve(make_node):
    """Return a function that serves a node until a condition holds."""
    executor = SingleThreadedExecutor()

    def until(node, condition):
        if node not in executor.get_nodes():
            executor.add_node(node)
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            executor.spin_once(timeout_sec=0.02)

    yield until
    executor.shutdown()


@pytest.mark.parametrize('qos', QOS.values(), ids=QOS)
def test_every_publisher_is_heard_once_and_in_order(make_node, serve, qos):
    node, other, heard = make_node('listener'), make_node('talker'), []
    AnyPublisher(node, String, 'words', lambda m: heard.append(m.data))
    publisher = other.create_publisher(String, 'words', qos)
    matching = 1 + (qos.reliability == ReliabilityPolicy.RELIABLE) * (
        1 + (qos.durability == DurabilityPolicy.TRANSIENT_LOCAL)
    )
    serve(node, lambda: publisher.get_subscription_count() == matching)
    words = ['stop', 'stop', 'go', 'stop']
    for word in words:
        publisher.publish(String(data=word))
    serve(node, lambda: len(heard) >= len(words))
    publisher.publish(String(data='end'))  # what would be heard twice comes before this
    serve(node, lambda: 'end' in heard)
    assert heard == [*words, 'end']


def test_what_was_latched_before_is_heard(make_node, serve):
    node, other, heard = make_node('listener'), make_node('talker'), []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = other.create_publisher(String, 'words', latched)
    publisher.publish(String(data='stop'))
    AnyPublisher(node, String, 'words', lambda m: heard.append(m.data))
    serve(node, lambda: heard == ['stop'])
