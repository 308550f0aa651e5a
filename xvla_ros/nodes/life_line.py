# SPDX-License-Identifier: Apache-2.0
"""
Notice the death of another process at once, however large it is.

When a process is killed, the kernel first frees its memory (measured here: 0.1 ms per MB, so a
third of a second for a full-size policy) and closes its files only then: the end of a pipe comes
too late. A robust mutex is released at the very start of a thread's exit (set_robust_list(2),
pthread_mutexattr_setrobust(3)): seen after 1 to 4 ms at any size.
"""

import ctypes
import errno
import mmap
import os
import threading

# Linux' pthread.h; both types are smaller than this on every architecture of glibc and musl.
MUTEX_BYTES = 128
PTHREAD_PROCESS_SHARED = 1
PTHREAD_MUTEX_ROBUST = 1

_pthread = ctypes.CDLL(None, use_errno=True)


class LifeLine:
    """A robust mutex shared by two processes: one holds it while it lives, the other waits."""

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
    """Raise what a pthread function returned as an error."""
    if code:
        raise OSError(code, os.strerror(code))
