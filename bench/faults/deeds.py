# SPDX-License-Identifier: Apache-2.0
"""What is done to a running system: signals, limits, people, services, others on the network."""

from collections.abc import Callable
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
