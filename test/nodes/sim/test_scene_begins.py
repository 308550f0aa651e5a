# SPDX-License-Identifier: Apache-2.0
"""A scene ignores the commands of the motion before it, however late they arrive."""

import time
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
import pytest

pytest.importorskip('rclpy', reason='the simulated drivers need ROS')

from xvla_ros.nodes.sim.server import MOST_DEAF_S, QUIET_S, Server

DT_S = 0.01


class Obedient(Server):
    """Lists the commands that it obeys."""

    def __init__(self):
        super().__init__(SimpleNamespace(), 'arm', SimpleNamespace())
        self.obeyed = []

    def objection(self, message):
        return ''

    def starts_here(self, world, message):
        return message == 'here'

    def obey(self, world, message):
        self.obeyed.append(message)

    def arrive(self, message, sent_ns=None):
        self._store(message, {'source_timestamp': sent_ns or time.time_ns()})

    def step(self, count=1):
        for _ in range(count):
            self.apply(None, DT_S, time.perf_counter())


def steps(duration_s):
    return round(duration_s / DT_S) + 1


def test_a_command_is_obeyed_once():
    server = Obedient()
    server.arrive('go')
    server.step(3)
    assert server.obeyed == ['go']


def test_a_command_sent_before_the_scene_is_never_obeyed():
    server = Obedient()
    sent_ns = time.time_ns()
    server.forget()
    server.step(steps(MOST_DEAF_S))
    server.arrive('late', sent_ns)
    server.step()
    assert server.obeyed == []


@given(st.integers(1, 60))
def test_a_stream_that_continues_into_the_scene_is_ignored(count):
    """A controller's last braking targets arrive every two steps."""
    server = Obedient()
    server.forget()
    for number in range(min(count, steps(MOST_DEAF_S) // 2 - 1)):
        server.arrive(number)
        server.step(2)
    assert server.obeyed == []


def test_a_command_after_a_pause_is_obeyed():
    server = Obedient()
    server.forget()
    server.arrive('braking')
    server.step(1 + steps(QUIET_S))
    server.arrive('new')
    server.step()
    server.arrive('next')
    server.step()
    assert server.obeyed == ['new', 'next']


def test_a_motion_that_starts_where_the_arm_is_is_obeyed_at_once():
    """Its controller would else see an arm that does not follow."""
    server = Obedient()
    server.forget()
    for message in ('braking', 'here', 'next'):
        server.arrive(message)
        server.step()
    assert server.obeyed == ['here', 'next']


def test_a_stream_without_a_pause_is_obeyed_after_a_time():
    server = Obedient()
    server.forget()
    for number in range(steps(MOST_DEAF_S) + 1):
        server.arrive(number)
        server.step()
    assert server.obeyed
