# SPDX-License-Identifier: Apache-2.0
"""controller_node with sim_node over real DDS: what it executes, and all that it must not."""

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
    """Start each test with the arm at home and at rest, and without a latched stop."""
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
    """Return what sends targets that leave `start` along x, each a step farther."""
    away_m = itertools.count(step_m, step_m)
    return lambda: client.send(moved(start, by=(min(next(away_m), 0.25), 0.0, 0.0)))


def test_silence_stops_the_arm_on_its_way(client):
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

    def hold_in_motion():  # silence may have ended it before: a tenth of a second does
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
    """Yield what is wrong with a command of now, the command, and what the refusal must name."""
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
def test_a_bad_target_is_refused_by_name_and_moves_nothing(client, kind):
    start = client.tools()
    refused = client.count('refused')

    def bad():
        return next(found for name, *found in _bad_commands(client) if name == kind)

    expected = bad()[1]
    # One that arrives a tenth of a second late is refused for that.
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
    """A controller whose arm's topics have no publisher never commands anything."""
    config = ROOT / 'config' / 'franka_sim.yaml'
    seen = []
    with processes(config, ('controller_node',), ('-r', '__ns:=/alone')):
        client = Client(config, 'alone_client')
        targets = client.node.create_publisher(
            type(client.command(None)), '/alone/policy_node/target', 1
        )
        client.node.create_subscription(PoseStamped, '/alone/target_pose', seen.append, 10)
        client.wait(lambda: targets.get_subscription_count() > 0, 'controller listens')
        position = np.array([0.4, 0.0, 0.4])
        here = (ArmPose(position=position, quaternion=[1.0, 0.0, 0.0, 0.0], gripper=1.0),)
        client.wait(
            lambda: any('nothing received yet' in s.message for s in client.statuses),
            'refusal',
            meanwhile=lambda: targets.publish(client.command(here)),
        )
        client.close()
    assert not seen


def test_a_robot_that_falls_silent_is_no_longer_commanded(ros_context):
    config = ROOT / 'config' / 'franka_sim.yaml'
    seen = []
    apart = ('-r', '__ns:=/silent', '-r', '/diagnostics:=/silent/diagnostics')
    with processes(config, arguments=apart) as (sim, _):
        client = Client(config, 'silent_client', cli_args=['--ros-args', *apart])
        client.wait_until_ready()
        client.node.create_subscription(PoseStamped, 'target_pose', seen.append, 10)
        near = moved(client.tools(), by=(0.02, 0.0, 0.0))
        client.wait(lambda: len(seen) > 5, 'commands', meanwhile=lambda: client.send(near))
        sim.send_signal(signal.SIGSTOP)
        try:
            client.wait(
                lambda: 'last message is' in client.status,
                'refusal',
                meanwhile=lambda: client.send(near),
            )
            client.spin(0.5)
            count = len(seen)
            client.hold_target(near, 0.5)
            assert len(seen) == count
        finally:
            sim.send_signal(signal.SIGCONT)
        client.close()
