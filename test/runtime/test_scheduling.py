# SPDX-License-Identifier: Apache-2.0
"""Work that lets others go first, and how much of the processor a process gets."""

from concurrent.futures import ThreadPoolExecutor
import os
import threading
import time

import pytest

from xvla_ros.runtime.process import ProcessorShare, softly


def nice_of_this_thread():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def nice_of_a_new_thread():
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(nice_of_this_thread).result()


def test_soft_work_and_its_threads_are_nice_and_the_caller_is_not():
    before = nice_of_this_thread()
    assert softly(lambda: (nice_of_this_thread(), nice_of_a_new_thread()), 7) == (7, 7)
    assert nice_of_this_thread() == nice_of_a_new_thread() == before


def test_soft_work_raises_what_it_raises():
    with pytest.raises(ZeroDivisionError):
        softly(lambda: 1 / 0, 3)


def spin(duration_s):
    until = time.thread_time() + duration_s
    while time.thread_time() < until:
        pass


def test_threads_that_compete_for_one_processor_lower_the_share():
    """Two threads of two processes on one processor: each gets half of what it wants."""
    allowed = os.sched_getaffinity(0)
    rival = os.fork()
    if rival == 0:
        os.sched_setaffinity(0, {min(allowed)})
        while os.getppid() != 1:
            spin(0.01)
        os._exit(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        share = ProcessorShare()
        spin(0.3)
        assert 0.0 < share.measure() < 0.75
    finally:
        os.sched_setaffinity(0, allowed)
        os.kill(rival, 9)
        os.waitpid(rival, 0)


def test_no_file_stays_open_for_a_thread_that_has_ended():
    before = len(os.listdir('/proc/self/fd'))
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    share = ProcessorShare()
    assert len(os.listdir('/proc/self/fd')) >= before + 5
    ended.set()
    for thread in threads:
        thread.join()
    share.measure()
    assert len(os.listdir('/proc/self/fd')) <= before + threading.active_count()
