# SPDX-License-Identifier: Apache-2.0
"""
Starts, watches and ends the processes of the table where `launch` is not installed.

No process is left behind. They are ended in order, and killed when they do not end in time. If the
process that started them is killed, the kernel ends them.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
import ctypes
import fcntl
from functools import partial
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import tempfile
import time

from xvla_ros.bringup.table import Process
from xvla_ros.core.errors import XvlaError

# How long a process may take to end, on a busy machine, before it is killed.
END_TIMEOUT_S = 15.0
PR_SET_PDEATHSIG = 1  # prctl(2)
# DDS computes its ports from the domain. From domain 102 on they overlap Linux' ephemeral ports.
DOMAINS = range(10, 102)
FIRST_PORT, PORTS_PER_DOMAIN = 7410, 250
LAST_LINES = 15

_libc = ctypes.CDLL(None)


class Runner:
    """A context in which processes run. Leaving it ends them. Use it from one thread."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """
        Start nothing yet.

        :param log_folder: gets one log file per process. :param environment: variables that are
            added to the environment of every process.
        """
        self._folder, self._environment = log_folder, dict(environment or {})
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        log_folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> 'Runner':
        """Return the runner."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self.stop()

    def start(self, process: Process) -> None:
        """Start one process of the table."""
        self.run(process.name, process.command(), process.environment)

    def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a command in a new session, so that Ctrl-C in the terminal does not reach it."""
        variables = {**os.environ, **self._environment, **(environment or {})}
        with self.log(name).open('wb') as log:
            self._running[name] = subprocess.Popen(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(_end_with_parent, os.getpid()),
            )

    def log(self, name: str) -> Path:
        """Return the file with a process's output."""
        return self._folder / f'{name}.log'

    def pid(self, name: str) -> int:
        """Return a process's id."""
        return self._running[name].pid

    def ended(self, name: str) -> int | None:
        """Return a process's exit code, None while it runs."""
        return self._running[name].poll()

    def check(self) -> None:
        """
        Check that all processes run.

        :raises XvlaError: one has ended; the message holds the last lines of its output.
        """
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                lines = self.log(name).read_text(errors='replace').splitlines()[-LAST_LINES:]
                words = '\n  '.join(['', *lines]) if lines else ' it wrote nothing'
                raise XvlaError(f'{name} ended (exit code {code}):{words}')

    def stop(self, name: str | None = None) -> None:
        """End one process, or all of them in the reverse order of their start."""
        names = [name] if name else list(reversed(self._running))
        for each in names:
            self._running[each].terminate()
        deadline = time.monotonic() + END_TIMEOUT_S
        for each in names:
            _await_end(self._running.pop(each), deadline)


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a process to end, and kill its session when it takes too long."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the process, or children that it left behind
    process.wait()


def _end_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends. Runs between fork and exec."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent had already ended
        os._exit(1)


class Domain:
    """Reserves a ROS domain that no other process on this machine uses, as long as it lives."""

    def __init__(self) -> None:
        """
        Reserve a free domain.

        :raises XvlaError: all are in use.
        """
        for number in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
            # test/conftest.py locks files of the same names.
            lock = (Path(tempfile.gettempdir()) / f'ros_domain_{number}.lock').open('a')
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            if _is_silent(number):
                self.number, self._lock = number, lock
                return
            lock.close()
        raise XvlaError(f'every ROS domain of {DOMAINS} is in use on this machine')

    def environment(self) -> dict[str, str]:
        """Return variables that put a process into this domain, with discovery on this machine."""
        return {
            'ROS_DOMAIN_ID': str(self.number),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        }


def _is_silent(domain: int) -> bool:
    """Tell whether no DDS participant of this machine uses the first port of a domain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', FIRST_PORT + PORTS_PER_DOMAIN * domain))
        except OSError:
            return False
    return True
