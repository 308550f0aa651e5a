# SPDX-License-Identifier: Apache-2.0
"""
Processes on one machine: scheduling priority, and noticing at once that one has died.

When a process is killed, the kernel first frees its memory (measured here: 0.1 ms per MB, so a
third of a second for a full-size policy) and closes its files only then: the end of a pipe comes
too late. A robust mutex is released at the very start of a thread's exit (set_robust_list(2),
pthread_mutexattr_setrobust(3)): seen after 1 to 4 ms at any size.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import ctypes
import errno
import math
import mmap
import os
from pathlib import Path
import threading
from typing import TypeVar

# Linux' pthread.h; both types are smaller than this on every architecture of glibc and musl.
MUTEX_BYTES = 128
PTHREAD_PROCESS_SHARED = 1
PTHREAD_MUTEX_ROBUST = 1

_pthread = ctypes.CDLL(None, use_errno=True)


class LifeLine:
    """A robust mutex of two processes: one holds it while it lives, the other waits for it."""

    def __init__(self, fd: int | None = None) -> None:
        """Make a new one, or open the one behind a file descriptor that another process made."""
        self.fd = os.memfd_create('life line') if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, mmap.PAGESIZE)
        self._memory = mmap.mmap(self.fd, mmap.PAGESIZE)
        self._mutex = ctypes.byref((ctypes.c_char * MUTEX_BYTES).from_buffer(self._memory))
        if fd is None:
            self._initialise()

    def _initialise(self) -> None:
        attributes = ctypes.create_string_buffer(MUTEX_BYTES)
        _check(_pthread.pthread_mutexattr_init(attributes))
        _check(_pthread.pthread_mutexattr_setpshared(attributes, PTHREAD_PROCESS_SHARED))
        _check(_pthread.pthread_mutexattr_setrobust(attributes, PTHREAD_MUTEX_ROBUST))
        _check(_pthread.pthread_mutex_init(self._mutex, attributes))

    def hold(self) -> None:
        """Hold the line from a thread of this process, until the process ends."""
        held = threading.Event()

        def keep() -> None:
            _check(_pthread.pthread_mutex_lock(self._mutex))
            held.set()
            threading.Event().wait()

        threading.Thread(target=keep, name='life line', daemon=True).start()
        held.wait()

    def wait(self) -> None:
        """Block, without the interpreter's lock, until the process that holds the line is dead."""
        if _pthread.pthread_mutex_lock(self._mutex) == errno.EOWNERDEAD:
            _pthread.pthread_mutex_consistent(self._mutex)
        _pthread.pthread_mutex_unlock(self._mutex)


def _check(code: int) -> None:
    """Raise OSError for an error number that a pthread function returned."""
    if code:
        raise OSError(code, os.strerror(code))


# Every real-time priority comes before all ordinary processes. This one is low: drivers may come
# first.
PRIORITY = 10

Result = TypeVar('Result')
# Thread -> its open schedstat file: opening them all anew takes ten times as long as reading them.
_files: dict[str, int] = {}
_files_lock = threading.Lock()


def claim_realtime() -> bool:
    """
    Put every thread of this process before all ordinary processes (SCHED_FIFO).

    All of them, because a thread that waits for the interpreter's lock is as late as the one that
    holds it. Processes that are started later are ordinary again. Needs root or an rtprio limit
    (/etc/security/limits.d, as for ros2_control).

    :return: whether it was allowed; nothing has changed otherwise.
    """
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    for task in os.listdir('/proc/self/task'):
        try:
            os.sched_setscheduler(int(task), policy, os.sched_param(PRIORITY))
        except ProcessLookupError:
            continue  # a thread that has ended meanwhile
        except PermissionError:
            return False
    return True


def softly(work: Callable[[], Result], nice: int) -> Result:
    """
    Return what `work` returns; other processes go first while it runs.

    It runs on a thread of its own with a raised nice level, which the threads that it starts
    inherit: a user may raise a nice level but not lower it again, so the calling thread keeps its
    own. Linux shares the processor between sessions first (autogroup, on by default on desktops),
    so the nice level of our session is raised meanwhile, too.
    """

    def nicely() -> Result:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        return work()

    _set_session_nice(nice)
    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(nicely).result()
    finally:
        _set_session_nice(0)


def _set_session_nice(nice: int) -> None:
    with suppress(OSError):  # no such file: the kernel does not group
        Path('/proc/self/autogroup').write_text(f'{nice}\n')


class ProcessorShare:
    """The share that this process's threads get of the processor time they want, from now on."""

    def __init__(self) -> None:
        """Begin to measure."""
        self._before = _run_and_wait_ns()

    def measure(self) -> float:
        """
        Return the share since the beginning, 0 to 1; NaN where the kernel does not tell.

        A thread that sleeps wants nothing; one that is ready to run but waits for a processor
        lowers the share.
        """
        after = _run_and_wait_ns()
        ran = sum(after[t][0] - self._before.get(t, (0, 0))[0] for t in after)
        waited = sum(after[t][1] - self._before.get(t, (0, 0))[1] for t in after)
        return ran / (ran + waited) if ran + waited > 0 else math.nan


def _run_and_wait_ns() -> dict[str, tuple[int, int]]:
    """Return how long each thread has run and waited for a processor [ns], see proc(5)."""
    times = {}
    with _files_lock:
        tasks = os.listdir('/proc/self/task')
        for ended in set(_files) - set(tasks):
            os.close(_files.pop(ended))
        for task in tasks:
            with suppress(OSError, ValueError):  # the kernel does not count
                times[task] = _read_schedstat(task)
    return times


def _read_schedstat(task: str) -> tuple[int, int]:
    """
    Read how long a thread has run and waited [ns].

    :raises OSError: the thread has ended; its file is closed.
    """
    if task not in _files:
        _files[task] = os.open(f'/proc/self/task/{task}/schedstat', os.O_RDONLY | os.O_CLOEXEC)
    try:
        ran, waited, _ = os.pread(_files[task], 64, 0).split()
    except OSError:
        os.close(_files.pop(task))
        raise
    return int(ran), int(waited)
