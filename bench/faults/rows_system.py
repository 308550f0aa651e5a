# SPDX-License-Identifier: Apache-2.0
"""Rows: the server, the worker, people, processes and whoever else is on the network."""

from collections.abc import Callable
import json
import math
import resource
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from bench.faults.cell import Cell, START_S
from bench.faults.rows_inputs import LAG_M
from bench.faults.server import Handler
from bench.faults.table import Row

TIMEOUT_S = 2.0  # policy.request_timeout_s of the cell
PLAN_S = 3.5  # a chunk lasts 3 s of the simulation's clock, which may be slower than ours
LEASE_S = 2.0  # of the controller's liveliness
Reply = Callable[[Handler, Any], None]


def replies(reply: Reply) -> Callable[[Cell], object]:
    """Return what has the server answer otherwise."""
    return lambda cell: setattr(cell.server, 'reply', reply)


def half(handler: Handler, actions: Any) -> None:
    """Promise more than is sent, and hang up."""
    handler.send(b'{"action": [[0.1, ', length=4000)
    handler.hang_up()


def after(seconds: float) -> Reply:
    """Return what answers late."""

    def reply(handler: Handler, actions: Any) -> None:
        time.sleep(seconds)
        handler.answer(actions)

    return reply


def text(body: str, status: int = 200) -> Reply:
    """Return what sends a text."""
    return lambda handler, actions: handler.send(body.encode(), status)


def with_actions(change: Callable[[Any], Any]) -> Reply:
    """Return what sends other actions."""
    return lambda handler, actions: handler.answer(change(actions))


def with_nan(actions: Any) -> Any:
    """Make one number NaN."""
    actions[3, 1] = math.nan
    return actions


def far_away(actions: Any) -> Any:
    """Begin half a metre away."""
    actions[:, 0] += 0.5
    return actions


def other_layout(actions: Any) -> Any:
    """Give the six numbers of rotations in the other order."""
    rotation = actions[:, 3:9].reshape(-1, 3, 2)
    actions[:, 3:9] = rotation.transpose(0, 2, 1).reshape(-1, 6)
    return actions


def huge(actions: Any) -> Any:
    """Give numbers that no arm can have."""
    return actions * 1e6


def down(cell: Cell) -> None:
    """Have the server refuse connections, and hang up on the open one."""
    cell.server.reply = lambda handler, actions: handler.hang_up()
    cell.server.down.set()


def other_model(cell: Cell) -> None:
    """Have another model answer after a hang-up."""
    cell.server.facts = {'checkpoint': 'another', 'dim_proprio': 14}
    cell.server.reply = lambda handler, actions: handler.hang_up()


def server(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of the server."""
    more = {'within_s': TIMEOUT_S, **more}
    return Row(name=name, group='server', inject=inject, codes=codes, **more)


def killed(name: str, number: int = signal.SIGKILL) -> Callable[[Cell], float]:
    """Return what sends a signal to a process."""
    return lambda cell: cell.kill(name, number)


def continued(name: str) -> Callable[[Cell], object]:
    """Return what lets a stopped process go on."""
    return lambda cell: cell.kill(name, signal.SIGCONT)


def restarted(name: str) -> Callable[[Cell], object]:
    """Return what starts a node again."""
    return lambda cell: cell.restart(name)


def out_of_memory(cell: Cell) -> None:
    """Let the worker take no memory beyond what it has."""
    psutil.Process(cell.pid('worker')).rlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))


def another_worker(cell: Cell) -> None:
    """Kill the worker, and wait until its death is known."""
    begun_s = cell.kill('worker')
    cell.wait(lambda: 'worker_died' in cell.codes(begun_s), 10.0, 'word of the worker')


def no_descriptors(cell: Cell) -> float:
    """Let the policy node open nothing more, and kill its worker."""
    process = psutil.Process(cell.pid('policy_node'))
    limits = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    cell.extra.append(lambda: process.rlimit(resource.RLIMIT_NOFILE, limits))
    return cell.kill('worker')


def press(cell: Cell) -> None:
    """Press the e-stop."""
    cell.pressed = True


def released(value: bool | None) -> Callable[[Cell], object]:
    """Return what releases the deadman switch, or silences it."""
    return lambda cell: setattr(cell, 'held', value)


def reset(cell: Cell) -> None:
    """Reset what is latched."""
    time.sleep(0.2)  # the release must have been heard
    cell.reset()


def disarm(cell: Cell) -> None:
    """Choose a dry run."""
    cell.arm(False)


def second_policy(cell: Cell) -> float:
    """Start another policy node; return when its publisher is there."""
    topic, before = 'policy_node/target', cell.node.count_publishers('policy_node/target')
    command = cell.table['policy_node'].command()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def end() -> None:
        process.terminate()
        process.wait()

    cell.extra.append(end)
    cell.wait(lambda: cell.node.count_publishers(topic) > before, START_S, 'a second policy')
    return time.monotonic()


def storm(cell: Cell) -> None:
    """Call a service 400 times at once."""
    client = cell.node.create_client(SetBool, 'policy_node/arm')
    cell.wait(client.service_is_ready, 10.0, 'arm')
    for _ in range(400):
        client.call_async(SetBool.Request(data=True))
    cell.extra.append(lambda: cell.node.destroy_client(client))


def home_storm(cell: Cell) -> None:
    """Ask 100 times for the state of the node's parameters and for an unknown home."""
    client = cell.node.create_client(Trigger, 'controller_node/reset')
    cell.wait(client.service_is_ready, 10.0, 'reset')
    for _ in range(400):
        client.call_async(Trigger.Request())
    cell.extra.append(lambda: cell.node.destroy_client(client))


def spam(cell: Cell) -> None:
    """Publish another instruction 100 times a second."""
    count = 0

    def say() -> None:
        nonlocal count
        count += 1
        cell.say(f'move in circle {count}')

    timer = cell.node.create_timer(0.01, say)
    cell.extra.append(lambda: cell.node.destroy_timer(timer))


def parameter(name: str, value: Any, *, accepted: bool = True) -> Callable[[Cell], object]:
    """Return what sets a parameter of the running node."""

    def inject(cell: Cell) -> None:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        (result,) = cell.call(SetParameters, 'policy_node/set_parameters', request).results
        if result.successful != accepted:
            raise RuntimeError(f'{name}: {result}')

    return inject


def full_disk(cell: Cell) -> None:
    """Record onto a disk that is full after 100 kB."""
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'record', '--embodiment', 'franka']
    folder = cell.runner.log('recording').with_suffix('')

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = subprocess.Popen(
        [*command, '--out', str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=small,
    )

    def end() -> None:
        process.kill()
        process.wait()

    cell.extra.append(end)


def take_away(cell: Cell) -> None:
    """Say the instruction again, when nobody else does any more."""
    cell.clear()
    cell.say(cell.words)


def arm(cell: Cell) -> None:
    """Arm."""
    cell.arm()


def worker(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of the inference worker."""
    return Row(name=name, group='worker', inject=inject, codes=codes, **{'within_s': 0.0, **more})


def people(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of what people do."""
    return Row(name=name, group='people', inject=inject, codes=codes, **{'within_s': 0.0, **more})


def process(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of a node's process."""
    more = {'within_s': 0.1, **more}
    return Row(name=name, group='process', inject=inject, codes=codes, **more)


def network(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of others on the network."""
    more = {'within_s': 0.1, 'recover': take_away, **more}
    return Row(name=name, group='network', inject=inject, codes=codes, **more)


WRONG_SHAPE = with_actions(lambda actions: actions[:10])
ROWS = (
    server('the server is down', down, 'server_unreachable'),
    server(
        'the server answers after 4 s',
        replies(after(4.0)),
        'server_slow',
        within_s=TIMEOUT_S + 0.4,
    ),
    server('the server is 10 times slower', replies(after(0.3))),
    server('half an answer, then the end', replies(half), 'server_unreachable'),
    server(
        'the connection ends at every request',
        replies(lambda h, _: h.hang_up()),
        'server_unreachable',
    ),
    server('10 actions instead of 30', replies(WRONG_SHAPE), 'answer_shape'),
    server('7 numbers per action', replies(with_actions(lambda a: a[:, :7])), 'answer_shape'),
    server('a number is NaN', replies(with_actions(with_nan)), 'answer_not_finite'),
    server('the answer is text', replies(text('hello')), 'server_garbage'),
    server(
        'the answer is JSON of something else',
        replies(text(json.dumps({'a': 1}))),
        'server_garbage',
    ),
    server('status 500', replies(text('{"error": "broken"}', 500)), 'server_refused'),
    server('status 401', replies(text('{"error": "token"}', 401)), 'server_refused'),
    server('status 503', replies(text('{"error": "busy"}', 503)), 'server_refused'),
    server(
        'a chunk half a metre away', replies(with_actions(far_away)), 'first_step', within_s=PLAN_S
    ),
    server(
        'rotations in the other layout',
        replies(with_actions(other_layout)),
        'rotation_layout',
        'rotation_invalid',
        within_s=PLAN_S,
    ),
    server(
        'positions of kilometres',
        replies(with_actions(huge)),
        'first_step',
        'workspace',
        'rotation_layout',
        'rotation_invalid',
        within_s=PLAN_S,
    ),
    server('another model than before', other_model, 'server_changed'),
    worker('the worker is killed', killed('worker'), 'worker_died'),
    worker('the worker crashes', killed('worker', signal.SIGSEGV), 'worker_died'),
    worker('the worker is told to end', killed('worker', signal.SIGTERM), 'worker_died'),
    worker(
        'the worker hangs',
        killed('worker', signal.SIGSTOP),
        'worker_silent',
        within_s=0.5,
        recover=continued('worker'),
    ),
    worker(
        'the worker gets no more memory',
        out_of_memory,
        recover=another_worker,
    ),
    worker(
        'no file descriptors, and the worker dies',
        no_descriptors,
        'worker_died',
        'worker_restart',
        recover=lambda cell: cell.clear(),
    ),
    people('the e-stop is pressed', press, 'estop', recover=reset, step_m=LAG_M),
    people('the deadman switch is released', released(False), 'deadman_released'),
    people('the deadman switch is silent', released(None), 'deadman_silent', within_s=0.25),
    people(
        'the robot is disarmed', disarm, 'no_targets', 'policy_holds', within_s=0.1, recover=arm
    ),
    process(
        'the controller is killed',
        killed('controller_node'),
        'controller_silent',
        'controller_gone',
        recover=restarted('controller_node'),
    ),
    process(
        'the controller is told to end',
        killed('controller_node', signal.SIGTERM),
        'controller_gone',
        'ends',
        recover=restarted('controller_node'),
        step_m=LAG_M,
    ),
    process(
        'the controller hangs',
        killed('controller_node', signal.SIGSTOP),
        'controller_silent',
        recover=continued('controller_node'),
        within_s=0.1,
    ),
    process(
        'the policy node hangs',
        killed('policy_node', signal.SIGSTOP),
        'no_targets',
        recover=continued('policy_node'),
    ),
    process(
        'the policy node is told to end',
        killed('policy_node', signal.SIGTERM),
        'policy_holds',
        recover=restarted('policy_node'),
        within_s=0.5,
    ),
    process(
        'the policy node is killed',
        killed('policy_node'),
        'no_targets',
        recover=restarted('policy_node'),
    ),
    process(
        'the robot hangs',
        killed('sim_node', signal.SIGSTOP),
        'clock_stopped',
        recover=continued('sim_node'),
        within_s=1.0,
    ),
    network(
        'a second publisher of targets', lambda cell: cell.second_publisher(), 'two_publishers'
    ),
    network('a second policy node', second_policy, 'two_publishers'),
    network('400 service calls of the policy at once', storm),
    network('400 service calls of the controller at once', home_storm),
    network('another instruction 100 times a second', spam, 'first_chunk', within_s=0.1),
    network('another strategy while active', parameter('control.strategy', 'inpaint')),
    network(
        'an unknown strategy while active', parameter('control.strategy', 'magic', accepted=False)
    ),
    network(
        'a checkpoint while a server is asked',
        parameter('policy.checkpoint', 'demo_policy', accepted=False),
    ),
    network('the recording has no disk left', full_disk),
)
