# SPDX-License-Identifier: Apache-2.0
"""A node for the tests of drivers; the tests of kinematics need no ROS and do not ask for it."""

import time

import pytest


@pytest.fixture(scope='module')
def node():
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    rclpy.init()
    node, executor = rclpy.create_node('drivers'), SingleThreadedExecutor()
    executor.add_node(node)
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def inbox(node):
    from driver_rig import Inbox

    opened = []

    def make(kind, topic):
        opened.append(Inbox(node, kind, topic))
        return opened[-1]

    yield make
    for box in opened:
        box.close()


@pytest.fixture
def until(node):
    """Return a function that serves the driver's node until a condition holds."""
    from driver_rig import PATIENCE_S

    def wait(condition, act=lambda: None):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, 'it did not happen'
            act()
            node.executor.spin_once(timeout_sec=0.02)

    return wait
