# SPDX-License-Identifier: Apache-2.0
"""controller_node with sim_node over real DDS: what it executes, and what it refuses."""

import itertools
import signal

from cell import apart_m, Client, moved, processes, ROOT
from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest

from xvla_ros.core.ee6d import ArmPose

pytestmark = pytest.mark.ros
MINUTE_NS = 60_000_000_000


@pytest.fixture(scope='module')
def cell(ros_context):
    config = ROOT / 'config' / 'franka_sim.yaml'
    with processes(config):
        client = Client(config)
        client.wait_until_ready()
        yield client
        client.close()


@pytest.fixture
def client(cell):
    """Begin each test with the arm at rest at home, and the controller not stopped."""
    cell.estop(False)
    cell.wait(
        lambda: cell.reset_controller().success, 'reset', meanwhile=lambda: cell.estop(False)
    )
    cell.wait_for_state('holding')
    cell.begin_anew()
    cell.spin(0.6)  # the gate begins anew after half a second of rest
    return cell


def test_a_target_five_centimetres_away_is_reached(client):
    goal = moved(client.tools(), by=(0.05, 0.0, 0.0), gripper=0.0)
    client.wait(
        lambda: apart_m(client.tools(), goal) < 0.002 and client.tools()[0].gripper < 0.05,
        'target',
        10.0,
        meanwhile=lambda: client.send(goal),
    )


def stream(client, start, step_m=0.003):
    """Return a function that sends targets along x from `start`, each a step farther."""
    away_m = itertools.count(step_m, step_m)
    return lambda: client.send(moved(start, by=(min(next(away_m), 0.25), 0.0, 0.0)))


def test_the_arm_stops_when_no_target_comes(client):
    start = client.tools()
    client.wait(
        lambda: apart_m(client.tools(), start) > 0.03,
        'motion',
        10.0,
        meanwhile=stream(client, start),
    )
    client.wait_for_state('holding: no target executed')
    assert apart_m(client.wait_until_still(), start) < 0.12  # the stream would go on to 0.25


def test_a_hold_from_the_policy_stops_the_arm(client):
    start = client.tools()
    far = moved(start, by=(0.0, 0.09, 0.0))
    client.wait(
        lambda: apart_m(client.tools(), start) > 0.01,
        'motion',
        5.0,
        meanwhile=lambda: client.send(far),
    )

    def hold_in_motion():  # a gap of 0.1 s between targets may have ended the motion before
        if client.status.startswith('moving'):
            client.publish(client.command(None))
        elif 'the policy holds' not in client.status:
            client.send(far)

    client.wait(
        lambda: client.status == 'holding: the policy holds', 'hold', meanwhile=hold_in_motion
    )


def test_an_emergency_stop_latches_until_reset(client):
    start = client.tools()
    far = moved(start, by=(0.09, 0.0, 0.0))
    client.wait(
        lambda: apart_m(client.tools(), start) > 0.01,
        'motion',
        5.0,
        meanwhile=lambda: client.send(far),
    )
    client.estop(True)
    client.wait_for_state('stopped')
    stopped = client.wait_until_still()  # where it was when the button was pressed
    client.hold_target(far, 0.5)
    assert apart_m(client.tools(), stopped) < 0.002
    assert not client.reset_controller().success  # the button is still pressed
    client.estop(False)
    client.wait(lambda: client.reset_controller().success, 'reset', 5.0)
    client.wait(
        lambda: apart_m(client.tools(), stopped) > 0.005,
        'motion after reset',
        5.0,
        meanwhile=lambda: client.send(moved(stopped, by=(0.02, 0.0, 0.0))),
    )


def _bad_commands(client):
    """Yield the name of each fault, a present command with it, and words of its refusal."""
    here = client.tools()
    message = client.command(here)
    message.targets[0].pose.position.y = float('nan')
    yield 'NaN', message, 'position must be 3 finite metres'
    message = client.command(here)
    message.targets[0].pose.orientation.w = 0.5
    yield 'quaternion', message, 'unit'
    yield 'future', client.command(here, client.now_ns() + MINUTE_NS), 'in the future'
    yield 'old', client.command(here, client.now_ns() - MINUTE_NS), 's old, limit'
    message = client.command(here)
    message.targets[0].arm = 'left'
    yield 'arm', message, "arms ['left']"
    message = client.command(here)
    message.targets[0].frame_id = 'world'
    yield 'frame', message, "frame 'world'"
    message = client.command(here)
    message.targets = []
    yield 'empty', message, 'arms []'
    yield 'jump', client.command(moved(here, by=(0.3, 0.0, 0.0))), 'limits'


@pytest.mark.parametrize(
    'kind', ['NaN', 'quaternion', 'future', 'old', 'arm', 'frame', 'empty', 'jump']
)
def test_a_bad_target_is_refused_with_its_reason_and_moves_nothing(client, kind):
    start = client.tools()
    refused = client.count('refused')

    def bad():
        return next(found for name, *found in _bad_commands(client) if name == kind)

    expected = bad()[1]
    # A command that arrives 0.1 s late is refused for its age instead.
    client.wait(
        lambda: client.count('refused') > refused and expected in client.status,
        expected,
        meanwhile=lambda: client.publish(bad()[0]),
    )
    assert apart_m(client.tools(), start) < 0.001


def test_a_second_publisher_is_refused_as_the_real_controller_would(client):
    start = client.tools()
    other = client.node.create_publisher(PoseStamped, 'target_pose', 1)
    try:
        client.wait(
            lambda: 'other publisher' in client.status,
            'refusal',
            10.0,
            meanwhile=lambda: client.send(moved(start, by=(0.05, 0.0, 0.0))),
        )
        client.wait_for_state('holding')
    finally:
        client.node.destroy_publisher(other)
    client.wait(lambda: client.node.count_publishers('target_pose') == 1, 'other publisher leaves')


def test_no_motion_on_a_stale_state(ros_context, tmp_path):
    """A controller sends no command while its arm's topics have no publisher."""
    config = ROOT / 'config' / 'franka_sim.yaml'
    seen = []
    alone = ('-r', '__ns:=/alone')
    real = ('-p', 'use_sim_time:=false')  # no simulation, so no clock of its own
    with processes(config, ('controller_node',), alone + real):
        arguments = ['--ros-args', *alone]
        client = Client(config, 'alone_client', sim_time=False, cli_args=arguments)
        client.node.create_subscription(PoseStamped, 'target_pose', seen.append, 10)
        position = np.array([0.4, 0.0, 0.4])
        here = (ArmPose(position=position, quaternion=[1.0, 0.0, 0.0, 0.0], gripper=1.0),)
        client.begin()
        client.wait(
            lambda: any('nothing received yet' in s.reason for s in client.statuses),
            'refusal',
            meanwhile=lambda: client.send(here),
        )
        client.close()
    assert not seen


def test_a_simulation_that_has_stopped_gets_no_more_commands(ros_context):
    """Its clock stops with it, so the arm's state and every target are of the same past time."""
    config = ROOT / 'config' / 'franka_sim.yaml'
    seen = []
    apart = ('-r', '__ns:=/silent')
    with processes(config, arguments=apart) as (sim, _):
        client = Client(config, 'silent_client', cli_args=['--ros-args', *apart])
        client.wait_until_ready()
        client.node.create_subscription(PoseStamped, 'target_pose', seen.append, 10)
        near = moved(client.tools(), by=(0.02, 0.0, 0.0))
        client.wait(lambda: len(seen) > 5, 'commands', meanwhile=lambda: client.send(near))
        sim.send_signal(signal.SIGSTOP)
        try:
            refused = client.count('refused')
            client.wait(
                lambda: client.count('refused') > refused + 10,
                'refusals',
                meanwhile=lambda: client.send(near),
            )
            count = len(seen)
            client.hold_target(near, 0.5)
            assert len(seen) == count
        finally:
            sim.send_signal(signal.SIGCONT)
        client.close()
