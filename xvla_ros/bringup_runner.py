# SPDX-License-Identifier: Apache-2.0
"""
Start, watch and end the processes of the table where `launch` is not installed.

Whatever happens to the one who started them, none is left behind: they are ended in order, killed
when they do not end, and the kernel ends them should their starter be killed.
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
from types import TracebackType

from xvla_ros.bringup import Process
from xvla_ros.core.errors import XvlaError

# How long a process may take to end, on a loaded machine, before it is killed.
END_TIMEOUT_S = 15.0
PR_SET_PDEATHSIG = 1  # prctl(2)
# DDS computes ports from the domain; above 101 they leave the range that Linux leaves free.
DOMAINS = range(10, 102)
FIRST_PORT, PORTS_PER_DOMAIN = 7410, 250
LAST_LINES = 15

_libc = ctypes.CDLL(None)


class Runner:
    """A context in which processes run; leaving it ends them. One thread uses it."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Log each process to a file of its own; `environment` is added to each one's."""
        self._folder, self._environment = log_folder, dict(environment or {})
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        log_folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> 'Runner':
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every process."""
        self.stop()

    def start(self, process: Process) -> None:
        """Start one process of the table."""
        self.run(process.name, process.command(), process.environment)

    def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start any command, as a session of its own: Ctrl-C in the terminal is for us alone."""
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
        """Return the file that holds what a process wrote."""
        return self._folder / f'{name}.log'

    def pid(self, name: str) -> int:
        """Return a process's id."""
        return self._running[name].pid

    def ended(self, name: str) -> int | None:
        """Return a process's exit code, None while it runs."""
        return self._running[name].poll()

    def check(self) -> None:
        """
        Look after the processes.

        :raises XvlaError: one has ended; the message holds its last lines.
        """
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                lines = self.log(name).read_text(errors='replace').splitlines()[-LAST_LINES:]
                words = '\n  '.join(['', *lines]) if lines else ' without a word'
                raise XvlaError(f'{name} ended (exit code {code}):{words}')

    def stop(self, name: str | None = None) -> None:
        """End one process, or all of them in the reverse of the order in which they started."""
        names = [name] if name else list(reversed(self._running))
        for each in names:
            self._running[each].terminate()
        deadline = time.monotonic() + END_TIMEOUT_S
        for each in names:
            _await_end(self._running.pop(each), deadline)


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a process, kill its session when it takes too long."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # itself, or children that it left
    process.wait()


def _end_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent dies; runs between fork and exec."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be told
        os._exit(1)


class Domain:
    """A ROS domain that nobody else on this machine uses, for as long as this object lives."""

    def __init__(self) -> None:
        """
        Take one.

        :raises XvlaError: all are in use.
        """
        for number in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
            # The file's name is the one that test/conftest.py locks.
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
        """Return the variables that put a process into the domain, and keep it on this machine."""
        return {
            'ROS_DOMAIN_ID': str(self.number),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        }


def _is_silent(domain: int) -> bool:
    """Tell whether no DDS participant of this machine has the first port of a domain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', FIRST_PORT + PORTS_PER_DOMAIN * domain))
        except OSError:
            return False
    return True
