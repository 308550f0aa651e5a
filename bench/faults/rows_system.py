# SPDX-License-Identifier: Apache-2.0
"""Rows: the worker, people, processes and whoever else is on the network."""

from collections.abc import Callable
import signal
from typing import Any

from bench.faults.cell import Cell
from bench.faults.deeds import (
    another_worker,
    arm,
    continued,
    disarm,
    full_disk,
    home_storm,
    killed,
    no_descriptors,
    out_of_memory,
    parameter,
    press,
    released,
    reset,
    restarted,
    second_policy,
    spam,
    storm,
    take_away,
)
from bench.faults.table import LAG_M, Row


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


ROWS = (
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
    people('the e-stop is pressed', press, 'estop', recover=reset, step=LAG_M),
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
        step=LAG_M,
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
