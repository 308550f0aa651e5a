# SPDX-License-Identifier: Apache-2.0
"""controller_node over real DDS: the deadman switch, and an arm that does not follow."""

from contextlib import contextmanager

from cell import apart_m, Client, moved, processes, ROOT
import pytest
from std_msgs.msg import Bool

pytestmark = pytest.mark.ros
CONFIGS = ROOT / 'config'
CONFIG = CONFIGS / 'franka_sim.yaml'


class Thumb:
    """A deadman switch that publishes at 20 Hz; it can be released or fall silent."""

    def __init__(self, client):
        self.held = True
        self._publisher = client.node.create_publisher(Bool, 'deadman', 1)
        self.timer = client.node.create_timer(0.05, self._send)

    def _send(self):
        self._publisher.publish(Bool(data=self.held))


@contextmanager
def cell(**parameters):
    """Run a new cell with other parameters."""
    arguments = [word for k, v in parameters.items() for word in ('-p', f'{k}:={v}')]
    with processes(CONFIG, arguments=arguments):
        client = Client(CONFIG, 'stops_client')
        yield client
        client.close()


def in_motion(client):
    """Wait until the arm follows a target 9 cm away; return the function that sends it."""
    start = client.tools()
    far = moved(start, by=(0.0, 0.09, 0.0))

    def send():
        client.send(far)

    client.wait(lambda: apart_m(client.tools(), start) > 0.01, 'motion', meanwhile=send)
    return send


@pytest.mark.parametrize(('loss', 'word'), [('let go', 'released'), ('cable pulled', 'silent')])
def test_a_released_deadman_stops_the_arm_until_it_is_held_again(ros_context, loss, word):
    with cell(
        **{'control.deadman_topic': 'deadman', 'limits.max_linear_speed_m_s': 0.05}
    ) as client:
        thumb = Thumb(client)
        client.wait_until_ready()
        send = in_motion(client)
        if loss == 'let go':
            thumb.held = False
        else:
            thumb.timer.cancel()
        client.wait(lambda: 'moving' not in client.status, 'braking', 10.0, meanwhile=send)
        client.wait(lambda: word in client.status, word, 5.0, meanwhile=send)
        client.wait_for_state('holding')
        stopped = client.wait_until_still()
        refused = client.count('refused')
        client.wait(lambda: client.count('refused') > refused, 'refusal', 5.0, meanwhile=send)
        assert apart_m(client.tools(), stopped) < 0.001
        thumb.held = True
        thumb.timer.reset()
        in_motion(client)  # from the present pose: the arm may have reached the first target


def test_nothing_moves_before_the_deadman_is_held(ros_context):
    with cell(**{'control.deadman_topic': 'deadman'}) as client:
        client.wait(lambda: client.tools() is not None and client.statuses, 'arms')
        client.begin()
        start = client.tools()
        far = moved(start, by=(0.05, 0.0, 0.0))
        client.wait(
            lambda: 'deadman' in client.status and client.count('refused') > 0,
            'refusal',
            meanwhile=lambda: client.send(far),
        )
        assert client.count('executed') == 0
        assert apart_m(client.tools(), start) < 0.001


@pytest.mark.parametrize(
    ('robot', 'command'),
    [('franka', 'target_pose'), ('widowx', 'wx250s/arm_controller/joint_trajectory')],
)
def test_an_arm_that_does_not_follow_is_stopped_until_reset(ros_context, robot, command):
    """The commands go to a topic without a subscriber, so the arm cannot move."""
    config = CONFIGS / f'{robot}_sim.yaml'
    deaf = ('-r', f'{command}:=nobody_listens')
    patient = ('-p', 'control.hold_after_s:=0.5')  # a gap between targets must not end the motion
    with processes(config, ('sim_node',)), processes(config, ('controller_node',), deaf + patient):
        client = Client(config, 'deaf_client')
        client.wait_until_ready()
        start = client.tools()
        far = moved(start, by=(0.0, 0.09, 0.0))
        client.wait(
            lambda: client.status.startswith('stopped'),
            'stop',
            meanwhile=lambda: client.send(far),
        )
        assert 'arm does not follow' in client.status
        assert command in client.status
        executed = client.count('executed')
        client.hold_target(start, 0.5)  # a stopped controller executes no target
        assert client.status.startswith('stopped')
        assert client.count('executed') == executed
        assert client.reset_controller().success
        client.wait_for_state('holding')
        client.wait(
            lambda: client.status.startswith('moving'),
            'obeys after reset',
            10.0,
            meanwhile=lambda: client.send(start),
        )
        client.close()
