# SPDX-License-Identifier: Apache-2.0
"""A node's time in a simulation: /clock, taken when somebody asks, without an executor."""

import time

import pytest
from rosgraph_msgs.msg import Clock

from xvla_ros.nodes.common.clock import NodeClock, time_parameters
from xvla_ros.nodes.common.conversions import ns_to_stamp

pytestmark = pytest.mark.ros
PATIENCE_S = 20.0
SOME_NS = 1_700_000_000_123_456_789


def wait(condition, act=lambda: None):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        act()
        time.sleep(0.01)  # messages travel meanwhile; the deadline decides


@pytest.fixture
def simulation(make_node):
    return make_node('simulation').create_publisher(Clock, '/clock', 1)


def test_time_is_unknown_until_the_simulation_tells_it(make_node, simulation):
    clock = NodeClock(make_node('early', parameter_overrides=time_parameters(True)))
    assert clock.now_ns() == 0


def test_time_follows_the_simulation_in_a_node_that_nobody_spins(make_node, simulation):
    node = make_node('follower', parameter_overrides=time_parameters(True))
    clock = NodeClock(node)

    def tell(now_ns):
        message = Clock(clock=ns_to_stamp(now_ns))
        wait(lambda: clock.now_ns() == now_ns, lambda: simulation.publish(message))

    for now_ns in (SOME_NS, SOME_NS + 10_000_000, SOME_NS - 1):  # backwards, too
        tell(now_ns)
        assert node.get_clock().now().nanoseconds == now_ns


def test_without_a_simulation_time_is_the_systems(make_node, simulation):
    clock = NodeClock(make_node('real', parameter_overrides=time_parameters(False)))
    simulation.publish(Clock(clock=ns_to_stamp(SOME_NS)))
    before_ns = time.time_ns()
    assert before_ns <= clock.now_ns() <= time.time_ns()
