# SPDX-License-Identifier: Apache-2.0
"""`xvla demo` as a user runs it: it writes its results and leaves no process behind."""

from importlib.util import find_spec
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from missing_packages import needs_torch
import psutil
import pytest

pytest.importorskip('rclpy', reason='the demo needs ROS')
# Not imported: the first import of mujoco chooses how it draws.
if find_spec('mujoco') is None:
    pytest.skip('the demo simulates with mujoco', allow_module_level=True)

import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Bool

from xvla_ros.msg import ControllerStatus

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.ros, needs_torch]
DEMO_S = 280
MARK = 'XVLA_TEST_DEMO'


def demo(out, *arguments):
    """Start the command; each of its processes has a mark in its environment."""
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'demo', '--out', str(out), *arguments]
    environment = {**os.environ, MARK: str(out)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)


def marked(out):
    """Return the processes that a demo started and that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(out) and process.status() != 'zombie':
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_gone(out, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while marked(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not marked(out)


def test_one_episode_leaves_its_results(tmp_path):
    process = demo(tmp_path, '--episodes', '1', '--seed', '3', '--time-limit', '8')
    _, errors = process.communicate(timeout=DEMO_S)
    assert process.returncode == 0, errors
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['embodiment'] == 'franka'
    assert summary['action_mode'] == 'ee6d'
    assert summary['episodes'] == 1
    assert summary['chunks'] > 0
    assert set(summary) >= {
        'instruction',
        'successes',
        'lifts',
        'wrong_colour',
        'seeds',
        'faults',
        'inference_ms',
        'control',
        'controller_stops',
        'real_time_factor',
        'moved_while_holding_mm',
    }
    assert summary['controller_stops'] == 0
    assert 0 < summary['real_time_factor'] < 1.02
    assert summary['moved_while_holding_mm'] < 2
    assert set(summary['control']) == {
        *('rate_hz', 'lateness_ms_p99', 'twin_lateness_ms_p99', 'missed_percent', 'starved_ticks')
    }
    assert (tmp_path / 'strip.png').stat().st_size > 10_000
    assert (tmp_path / 'demo.mp4').stat().st_size > 1_000
    assert wait_gone(tmp_path)


def test_the_demo_prints_and_counts_a_controller_stop_and_goes_on(tmp_path):
    """The e-stop is pressed while the arm moves, and released."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('button', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    states = []
    node.create_subscription(
        ControllerStatus, 'controller_node/status', lambda m: states.append(m.state), 10
    )
    button = node.create_publisher(Bool, 'estop', 10)
    process = demo(tmp_path, '--episodes', '1', '--seed', '3')
    pressed, deadline = 0, time.monotonic() + DEMO_S
    while process.poll() is None and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
        if states and states[-1] == ControllerStatus.STATE_MOVING and not pressed:
            pressed += 1
            button.publish(Bool(data=True))
            button.publish(Bool(data=False))
    _, errors = process.communicate(timeout=DEMO_S)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    assert process.returncode == 0, errors
    assert 'episode 0: stopped: ' in errors
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['controller_stops'] == 1
    assert states[states.index(ControllerStatus.STATE_STOPPED) :].count(
        ControllerStatus.STATE_MOVING
    )


def test_a_run_without_success_completes_and_prints_a_message(tmp_path):
    process = demo(tmp_path, '--episodes', '1', '--time-limit', '0.1')
    _, errors = process.communicate(timeout=DEMO_S)
    assert process.returncode == 0, errors
    assert json.loads((tmp_path / 'summary.json').read_text())['successes'] == 0
    assert f'no episode reached its block; {tmp_path}/log' in errors


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path, number):
    process = demo(tmp_path, '--episodes', '50')
    deadline = time.monotonic() + 60
    while len(marked(tmp_path)) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(marked(tmp_path)) >= 5
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert 'Traceback' not in errors
    assert wait_gone(tmp_path)


def test_a_killed_demo_leaves_no_process_behind(tmp_path):
    process = demo(tmp_path, '--episodes', '50')
    deadline = time.monotonic() + 60
    while len(marked(tmp_path)) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert wait_gone(tmp_path, 30.0), marked(tmp_path)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (
            ['--embodiment', 'no_such_robot'],
            "'no_such_robot': expected one of agilex, aloha, franka",
        ),
        (['--embodiment', 'ur5e'], "no policy for 'ur5e'"),
        (['--checkpoint', 'no_such_policy'], 'no_such_policy'),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, words):
    process = demo(tmp_path, *arguments)
    _, errors = process.communicate(timeout=DEMO_S)
    assert process.returncode == 2
    assert words in errors
    assert 'Traceback' not in errors
    assert wait_gone(tmp_path)
