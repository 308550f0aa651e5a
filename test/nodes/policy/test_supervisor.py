# SPDX-License-Identifier: Apache-2.0
"""The thread that listens to the worker outlives every error; a real worker, without cameras."""

from multiprocessing.connection import Connection
import os
import queue
import signal
import sys
import threading
import time

import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import CheckpointError, Reason
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.process import LifeLine
from xvla_ros.runtime.worker_listening import WorkerEvents
from xvla_ros.runtime.worker_supervisor import WorkerSupervisor

pytestmark = pytest.mark.ros
RESTART_S = 120.0
HEADER = 4  # bytes that precede a message on a Connection


class Listener:
    """Notes what the supervisor reports; fails in handling the first that the worker lacks."""

    def __init__(self):
        self.heard, self.bad = queue.Queue(), True
        self.events = WorkerEvents(
            answer=lambda answer: None,
            waiting=self._on_waiting,
            lost=lambda reason: self.heard.put(('lost', reason.text)),
            restarted=lambda: self.heard.put(('restarted', '')),
            failed=lambda reason: self.heard.put(('failed', reason)),
        )

    def _on_waiting(self, waiting):
        if self.bad:
            self.bad = False
            raise ValueError('no such source')
        self.heard.put(('waiting', waiting.reason))

    def next(self, kind):
        """Return the text of the next report of a kind."""
        while True:
            heard, text = self.heard.get(timeout=RESTART_S)
            if heard == kind:
                return text


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def supervisor(ros_context, still_policy, listener):
    overrides = {'policy.checkpoint': str(still_policy)}
    embodiment = load_embodiment(shared_file('config', 'franka_sim.yaml'), overrides)
    supervisor = WorkerSupervisor(embodiment, (), listener.events)
    yield supervisor
    supervisor.close()


def test_an_error_in_handling_or_restarting_does_not_end_the_listening(
    supervisor, listener, monkeypatch
):
    supervisor.start()
    failed = listener.next('failed')
    assert 'worker link' in failed
    assert 'no such source' in failed
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'executable', '/no/such/python')
        os.kill(supervisor.pid, signal.SIGKILL)
        while 'restart failed' not in (reason := listener.next('lost')):
            pass
    assert '/no/such/python' in reason
    listener.next('restarted')
    assert listener.next('waiting')


class SlowLine(LifeLine):
    """A life line whose end is noticed late, as on a loaded machine."""

    def wait(self):
        super().wait()
        time.sleep(0.5)


def test_a_worker_told_to_end_is_not_called_dead(supervisor, listener, monkeypatch):
    monkeypatch.setattr('xvla_ros.runtime.worker_supervisor.LifeLine', SlowLine)
    listener.bad = False
    supervisor.start()
    supervisor.swap(supervisor._embodiment, Reason('told', 'told to'))
    reasons = set()
    while (report := listener.heard.get(timeout=RESTART_S)) != ('restarted', ''):
        if report[0] == 'lost':
            reasons.add(report[1])
    assert reasons == {'told to'}
    assert listener.next('waiting')
    assert not [text for kind, text in listener.heard.queue if kind == 'lost']


def test_a_worker_that_cannot_be_started_is_refused_with_the_reason(supervisor, monkeypatch):
    monkeypatch.setattr(sys, 'executable', '/no/such/python')
    with pytest.raises(CheckpointError, match=r'cannot be started.*/no/such/python'):
        supervisor.start()


def test_a_worker_that_dies_while_its_message_is_read_is_restarted(
    supervisor, listener, monkeypatch
):
    """Its link was once closed under the reader: a fault, or a read from whatever came next."""
    receive, killed = Connection._recv, []

    def receive_late(link, size):
        if threading.current_thread() is supervisor._thread and size != HEADER and not killed:
            killed.append(supervisor.pid)
            os.kill(supervisor.pid, signal.SIGKILL)
            supervisor._watcher.join()
        return receive(link, size)

    monkeypatch.setattr(Connection, '_recv', receive_late)
    listener.bad = False
    supervisor.start()
    heard = []
    while 'restarted' not in heard:
        heard.append(listener.heard.get(timeout=RESTART_S)[0])
    assert killed
    assert 'lost' in heard
    assert 'failed' not in heard
