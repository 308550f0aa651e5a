# SPDX-License-Identifier: Apache-2.0
"""A server in place of a checkpoint: the same motion, and a hold that names it when it is gone."""

from http.client import HTTPConnection
import socket
import sys
import time

import pytest
from std_msgs.msg import String

from xvla_ros.bringup.runner import Runner
from xvla_ros.msg import PolicyStatus

pytestmark = pytest.mark.ros
START_S = 200.0


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def healthy(port):
    try:
        connection = HTTPConnection('127.0.0.1', port, timeout=1)
        connection.request('GET', '/health')
        return connection.getresponse().status == 200
    except OSError:
        return False


def serve(runner, checkpoint, port):
    """Start a server and wait until it answers."""
    command = [
        sys.executable,
        '-m',
        'xvla_ros.tools.cli',
        'serve',
        '--checkpoint',
        str(checkpoint),
    ]
    runner.run('server', [*command, '--port', str(port), '--host', '127.0.0.1'])
    deadline = time.monotonic() + START_S
    while not healthy(port):
        runner.check()
        assert time.monotonic() < deadline, runner.log('server').read_text()
        time.sleep(0.1)


def test_a_server_moves_the_arm_and_its_death_holds_it(
    rig, start_policy, overrides, still_policy, tmp_path
):
    port = free_port()
    remote = {
        **overrides,
        'policy.checkpoint': '',
        'policy.server_url': f'http://127.0.0.1:{port}',
        'policy.request_timeout_s': 2.0,
        'policy.denoising_steps': 1,
        'policy.warm_start_time': 0.1,  # this server knows warm starts
    }
    with Runner(tmp_path) as server:
        serve(server, still_policy, port)
        policy = start_policy(remote)
        rig.wait(lambda: rig.status.ticks > 0, START_S, 'the policy to be active')
        rig.instruction.publish(String(data='pick up the red block'))
        rig.wait_state(PolicyStatus.STATE_RUNNING)
        rig.wait(rig.moving, what='targets')
        server.stop('server')
        rig.wait_state(PolicyStatus.STATE_WAITING, saying=str(port))
        rig.wait(lambda: not rig.moving(0.1), what='hold')
        serve(server, still_policy, port)
        rig.wait_state(PolicyStatus.STATE_RUNNING)
        rig.wait(rig.moving, what='targets after the server came back')
    policy.stop()
    rig.instruction.publish(String(data=''))


def test_no_server_is_a_refused_start_that_names_it(rig, start_policy, overrides):
    url = f'http://127.0.0.1:{free_port()}'
    start_policy({**overrides, 'policy.checkpoint': '', 'policy.server_url': url})
    rig.wait_state(PolicyStatus.STATE_FAULT, timeout_s=START_S, saying=url)
