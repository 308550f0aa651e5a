# SPDX-License-Identifier: Apache-2.0
"""
LeRobot's own asynchronous client, taken at run time from the 0.4.4 wheel in `.venv-reference`.

Only the classes that hold the queue are read from its files and executed here, unchanged, without
the gRPC, robot and torch imports around them: actions are numpy vectors, which its arithmetic
takes as well. Nothing of it is stored in this project.
"""

import __future__

import ast
from collections.abc import Callable
import dataclasses
import logging
from pathlib import Path
from queue import Queue
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.reference_environment import MissingReferenceError, VENV

FOLDER = 'lib/python*/site-packages/lerobot/async_inference'

Array = NDArray[np.float64]


def _definitions(path: Path, names: tuple[str, ...], known: dict[str, Any]) -> dict[str, Any]:
    """Execute the named classes and assignments of a Python file and return its names."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    wanted = [
        node
        for node in tree.body
        if (isinstance(node, ast.ClassDef) and node.name in names)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') in names)
    ]
    if len(wanted) != len(names):
        raise MissingReferenceError(f'{path.name} does not hold {names}: another version?')
    tree.body = wanted
    flags = __future__.annotations.compiler_flag
    namespace = dict(known)
    exec(compile(tree, str(path), 'exec', flags=flags, dont_inherit=True), namespace)
    return namespace


def load_client() -> tuple[type, type, Callable[[Array, Array], Array]]:
    """
    Return LeRobot's RobotClient, TimedAction and its weighted average 0.3 old + 0.7 new.

    :raises MissingReferenceError: there is no reference environment.
    """
    folders = sorted(VENV.glob(FOLDER))
    if not folders:
        raise MissingReferenceError(f'{VENV / FOLDER}: missing; make bench brings it')
    shared = {
        'dataclass': dataclasses.dataclass,
        'threading': threading,
        'time': time,
        'Queue': Queue,
        'get_logger': logging.getLogger,
        '__name__': __name__,
    }
    timed = _definitions(folders[0] / 'helpers.py', ('TimedData', 'TimedAction'), shared)
    functions = _definitions(folders[0] / 'configs.py', ('AGGREGATE_FUNCTIONS',), shared)
    client = _definitions(
        folders[0] / 'robot_client.py',
        ('RobotClient',),
        {**shared, 'TimedAction': timed['TimedAction']},
    )
    average = functions['AGGREGATE_FUNCTIONS']['weighted_average']
    return client['RobotClient'], timed['TimedAction'], average


class LerobotQueue:
    """The part of LeRobot's client between its network calls: its queue, and when it asks."""

    def __init__(self, threshold: float = 0.5) -> None:
        """Build a client without connecting it: `threshold` is its chunk_size_threshold."""
        client_type, self._timed_action, self._average = load_client()
        client = client_type.__new__(client_type)
        client.robot = SimpleNamespace(send_action=self._sent, action_features=())
        client._action_tensor_to_action_dict = lambda action: action
        client.latest_action_lock = threading.Lock()
        client.latest_action = -1
        client.action_chunk_size = -1
        client._chunk_size_threshold = threshold
        client.action_queue = Queue()
        client.action_queue_lock = threading.Lock()
        client.action_queue_size = []
        client.must_go = threading.Event()
        client.must_go.set()
        self._client = client
        self._action: Array | None = None

    def _sent(self, action: Array) -> Array:
        self._action = action
        return action

    def receive(self, actions: Array, timestep: int, time_s: float, period_s: float) -> None:
        """Take a chunk (T, D) that answers the observation of a timestep (receive_actions)."""
        timed = [
            self._timed_action(timestamp=time_s + i * period_s, timestep=timestep + i, action=a)
            for i, a in enumerate(actions)
        ]
        self._client.action_chunk_size = max(self._client.action_chunk_size, len(timed))
        self._client._aggregate_action_queues(timed, self._average)
        self._client.must_go.set()

    def tick(self) -> tuple[Array | None, tuple[int, bool] | None]:
        """
        Run one control tick (control_loop).

        :return: the action performed, or None when the queue was empty; and the observation sent,
            as its timestep and whether it must be answered, or None.
        """
        client = self._client
        self._action = None
        if client.actions_available():
            client.control_loop_action()
        observation = None
        if client._ready_to_send_observation():
            must_go = client.must_go.is_set() and client.action_queue.empty()
            if must_go:
                client.must_go.clear()
            observation = (max(client.latest_action, 0), must_go)
        return self._action, observation
