# SPDX-License-Identifier: Apache-2.0
"""What the tests of nodes share: one rclpy context. Nothing outside this folder needs ROS."""

import pytest

rclpy = pytest.importorskip('rclpy', reason='the nodes need ROS')


@pytest.fixture(scope='module')
def ros_context():
    """Initialise rclpy for one module, in the domain that test/conftest.py claimed."""
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def make_node(ros_context):
    """Make nodes that are destroyed after the test."""
    nodes = []

    def make(name, **options):
        nodes.append(rclpy.create_node(name, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
