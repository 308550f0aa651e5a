# SPDX-License-Identifier: Apache-2.0
"""Two robots in two namespaces, as launch/two_robots.launch.py starts them: each for itself."""

from contextlib import ExitStack

from cell import apart_m, Client, moved, processes, ROOT
from diagnostic_msgs.msg import DiagnosticArray
import pytest
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

pytestmark = pytest.mark.ros
ROBOTS = {'left': 'widowx', 'right': 'franka'}
# What launch gives a simulation in a namespace: bringup/launching.py, SHARED_TOPICS.
OWN = [word for topic in ('clock', 'tf', 'tf_static') for word in ('-r', f'/{topic}:={topic}')]


@pytest.fixture(scope='module')
def pair(ros_context):
    """Start both cells, and a client in the namespace of each."""
    with ExitStack() as running:
        configs = {side: ROOT / 'config' / f'{name}_sim.yaml' for side, name in ROBOTS.items()}
        for side, config in configs.items():
            words = ('-r', f'__ns:=/{side}', *OWN)
            running.enter_context(processes(config, arguments=words))
        clients = {}
        for side, config in configs.items():
            options = {'namespace': side, 'cli_args': ['--ros-args', *OWN]}
            clients[side] = Client(config, 'client', **options)
            running.callback(clients[side].close)
        for client in clients.values():
            client.wait_until_ready()
        yield clients


def test_nothing_of_one_robot_has_the_name_of_the_others(pair):
    node = pair['left'].node
    shared = {'/rosout', '/parameter_events', '/diagnostics'}
    for topic in {name for name, _ in node.get_topic_names_and_types()} - shared:
        ends = node.get_publishers_info_by_topic(topic) + node.get_subscriptions_info_by_topic(
            topic
        )
        owners = {end.node_namespace.strip('/') for end in ends} & set(ROBOTS)
        assert owners <= {topic.split('/')[1]}, topic
    nodes = node.get_node_names_and_namespaces()  # those of earlier tests may still be listed
    names = [f'{space}/{name}' for name, space in nodes if space.strip('/') in ROBOTS]
    assert len(set(names)) == len(names) >= 2 * len(ROBOTS)


def test_diagnostics_tell_the_robots_apart(pair):
    client, seen = pair['left'], set()

    def note(message):
        seen.update(status.name for status in message.status)

    subscription = client.node.create_subscription(DiagnosticArray, '/diagnostics', note, 10)
    expected = {f'/{side}/controller_node: {name}' for side, name in ROBOTS.items()}
    client.wait(lambda: expected <= seen, f'{expected} in /diagnostics, seen: {seen}')
    client.node.destroy_subscription(subscription)


def test_each_follows_its_own_clock(pair):
    for side, client in pair.items():
        stamps = []
        client.node.create_subscription(
            Clock, f'/{side}/clock', stamps.append, QoSProfile(depth=1)
        )
        client.wait(lambda stamps=stamps: stamps, f'{side} tells its time')
        assert not client.node.count_publishers('/clock')


def test_a_target_moves_one_robot_and_a_stop_stops_one(pair):
    left, right = pair['left'], pair['right']
    starts = {side: client.tools() for side, client in pair.items()}
    target = moved(starts['left'], (0.0, 0.0, 0.03))
    left.wait(
        lambda: apart_m(left.tools(), target) < 0.01,
        'left arrives',
        meanwhile=lambda: left.send(target),
    )
    right.spin(0.1)
    assert apart_m(right.tools(), starts['right']) < 0.002
    left.estop(pressed=True)
    left.wait_for_state('stopped')
    before = right.count('executed')
    right.wait(
        lambda: right.count('executed') > before,
        'right executes while left is stopped',
        meanwhile=lambda: right.send(starts['right']),
    )
