# SPDX-License-Identifier: Apache-2.0
"""The control process's side of the inference worker: start, listen, restart, end."""

from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
import os
import subprocess
import sys
import threading
import time

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import CheckpointError, InferenceError, one_line, Reason, show_stack
from xvla_ros.runtime.process import LifeLine
from xvla_ros.runtime.worker_listening import receive, WorkerEvents
from xvla_ros.runtime.worker_messages import (
    Answer,
    CheckpointFacts,
    died,
    Failed,
    not_restarted,
    Ready,
    Setup,
    shut_down,
    SILENCE,
    Task,
    Tuning,
    Waiting,
)

# Pause before each restart in a row [s]. An answer begins the row anew.
BACKOFF_S = (0.0, 1.0, 3.0, 10.0, 30.0)
# A worker that takes longer to end by itself is killed, and its shared memory stays [s].
END_TIMEOUT_S = 3.0
# Loading and compiling a large checkpoint may take minutes; after this long it counts as failed.
LOAD_TIMEOUT_S = 900.0


class WorkerSupervisor:
    """
    One inference worker, kept alive from `start` to `close`. Any thread may call `send`.

    A message to a dead worker is dropped; the next worker gets the last Task.
    """

    def __init__(
        self, embodiment: Embodiment, ros_arguments: Sequence[str], events: WorkerEvents
    ) -> None:
        """Store what to start; `ros_arguments` are the worker node's remaps and parameters."""
        self._embodiment, self._events = embodiment, events
        self._ros_arguments = tuple(ros_arguments)
        self._timeout_s = embodiment.control.worker_timeout_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._hurry = threading.Event()  # ends a pause before a restart
        self._swapping = Reason()  # why the worker ends, when it was told to
        self._task: Task | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no worker."""
        return self._process.pid if self._process else None

    def start(self) -> CheckpointFacts:
        """
        Start the worker, wait until its checkpoint is loaded, and listen to it from then on.

        :raises CheckpointError: the worker could not load the checkpoint; the message is the
            worker's.
        """
        try:
            facts = self._spawn()
        except InferenceError as error:
            raise CheckpointError(str(error)) from error
        except OSError as error:
            raise CheckpointError(f'the inference worker cannot be started: {error}') from error
        self._thread = threading.Thread(target=self._listen, name='worker link', daemon=True)
        self._thread.start()
        return facts

    def send(self, message: object) -> None:
        """Send one message to the worker; a restarted worker gets the last Task again."""
        with self._lock:
            if isinstance(message, Tuning):
                self._embodiment = message.embodiment
            elif isinstance(message, Task):
                self._task = message
            self._send(message)

    def swap(self, embodiment: Embodiment, reason: Reason) -> None:
        """Restart the worker at once with another embodiment; `lost` is called with the reason."""
        with self._lock:
            self._embodiment, self._swapping = embodiment, reason
            self._hurry.set()
            if self._link:
                shut_down(self._link)

    def close(self) -> None:
        """End the worker and stop listening. May be called in any state, more than once."""
        self._closing.set()
        self._hurry.set()
        self._end_process()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(END_TIMEOUT_S)

    def _send(self, message: object) -> None:
        if self._link:
            with suppress(OSError):  # the listening thread sees the end of the link
                self._link.send(message)

    def _spawn(self) -> CheckpointFacts:
        """Start a process and wait for its Ready; OSError when the system lacks resources."""
        ours, theirs = Pipe(duplex=True)
        line = LifeLine()
        command = [
            sys.executable, '-m', 'xvla_ros.nodes.inference_worker',
            '--link', str(theirs.fileno()), '--line', str(line.fd), *self._ros_arguments,
        ]  # fmt: skip
        threads = str(self._embodiment.policy.threads)
        environment = {**os.environ, 'OMP_NUM_THREADS': threads, 'MKL_NUM_THREADS': threads}
        try:
            with theirs:
                process = subprocess.Popen(
                    command, pass_fds=(theirs.fileno(), line.fd), env=environment,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
        finally:
            os.close(line.fd)
        with self._lock:
            self._process, self._link, self._swapping = process, ours, Reason()
            self._send(Setup(embodiment=self._embodiment, yielding=self.restarts > 0))
        facts = self._await_ready(ours)
        self._watcher = threading.Thread(
            target=self._watch, args=(line, ours), name='worker life line', daemon=True
        )
        self._watcher.start()
        return facts

    def _watch(self, line: LifeLine, link: Connection) -> None:
        """Wait until the worker is dead, report it, and wake the listening thread."""
        line.wait()
        if not self._closing.is_set():
            self._events.lost(self._swapping or died())
        shut_down(link)

    def _await_ready(self, link: Connection) -> CheckpointFacts:
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while time.monotonic() < deadline and not self._closing.is_set():
            try:
                if not link.poll(0.1):
                    continue
                message = link.recv()
            except (EOFError, OSError) as error:
                raise InferenceError(
                    f'the inference worker ended while loading: {self._last_words()}'
                ) from error
            if isinstance(message, Ready):
                return message.facts
            self._end_process()
            raise InferenceError(
                message.reason.text
                if isinstance(message, Failed)
                else f'the inference worker began with {message}, expected Ready or Failed'
            )
        self._end_process()
        raise InferenceError('the inference worker was closed or did not load in time')

    def _listen(self) -> None:
        """Hand on the worker's messages; when it dies, report it and start another."""
        failures = 0
        while not self._closing.is_set():
            try:
                answered, reason = self._drain()
                if self._closing.is_set():
                    return
                self._events.lost(self._swapping or reason or died(self._last_words()))
                failures = 0 if answered else failures + 1
                self._restart(failures)
            except Exception as error:  # else nobody takes answers or restarts the worker
                show_stack(error)
                self._events.failed(f'worker link: {one_line(error)}')

    def _restart(self, failures: int) -> None:
        """Start another worker, after longer and longer pauses, until one loads."""
        while True:
            hurried = self._hurry.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            self._hurry.clear()
            if self._closing.is_set():
                return
            self._end_process()
            if self._watcher:
                self._watcher.join()  # it must not report the old worker's end as the new one's
            self.restarts += 1
            try:
                self._spawn()
            except (InferenceError, OSError) as error:
                if not self._closing.is_set():
                    self._events.lost(self._swapping or not_restarted(error))
                failures = 0 if hurried else failures + 1
                continue
            with self._lock:
                if self._task:
                    self._send(self._task)
            self._events.restarted()
            return

    def _drain(self) -> tuple[bool, Reason]:
        """Handle messages until the link ends; return whether one was an answer, and why."""
        answered, reason, link = False, Reason(), self._link
        while link:
            try:
                message = receive(link, self._timeout_s, self._on_silence, self._kill)
            except (EOFError, OSError):
                break
            if isinstance(message, Answer):
                answered = True
                self._events.answer(message)
            elif isinstance(message, Waiting):
                self._events.waiting(message)
            elif isinstance(message, Failed):
                reason = message.reason
        return answered, reason

    def _on_silence(self, reason: Reason) -> None:
        self._events.waiting(Waiting(source=SILENCE, reason=reason))

    def _kill(self) -> None:
        if self._process:
            self._process.kill()

    def _last_words(self) -> str:
        """Return how the process ended, as text."""
        try:
            code = self._process.wait(END_TIMEOUT_S) if self._process else 0
        except subprocess.TimeoutExpired:
            return 'its link broke'
        return f'killed by signal {-code}' if code < 0 else f'exit code {code}'

    def _end_process(self) -> None:
        """Shut the link down, which ends a healthy worker, and kill the process if it stays."""
        with self._lock:
            process, link, self._link = self._process, self._link, None
        if link:
            shut_down(link)
        if process is None:
            return
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
