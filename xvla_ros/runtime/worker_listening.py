# SPDX-License-Identifier: Apache-2.0
"""Listen to a worker that says at least that it lives; notice when it says nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
import time
from typing import Any

from xvla_ros.core.errors import Reason
from xvla_ros.runtime.worker_messages import Answer, Waiting, WORKER

# A worker that has been silent for this long hangs, and is killed; another one takes its place.
HUNG_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEvents:
    """What the supervisor reports, always from its own thread."""

    answer: Callable[[Answer], None]
    waiting: Callable[[Waiting], None]
    lost: Callable[[Reason], None]
    restarted: Callable[[], None]
    failed: Callable[[str], None]  # an error in handling any of these, with its stack


def receive(
    link: Connection,
    timeout_s: float,
    tell: Callable[[Reason], object],
    kill: Callable[[], object],
) -> Any:
    """
    Return the next message of a worker.

    :param timeout_s: how long it may say nothing. :param tell: called with the reason when it is
        silent for longer, and with none when it speaks again.
    :param kill: called when it hangs.
    :raises EOFError, OSError: its end of the link is closed.
    """
    since_s = time.monotonic()
    silent = killed = False
    while not link.poll(timeout_s):
        if not silent:
            text = f'the inference worker has given no sign of life for {timeout_s:g} s'
            tell(Reason('worker_silent', text, WORKER))
            silent = True
        if not killed and time.monotonic() - since_s > HUNG_S:
            killed = True
            kill()
    if silent:
        tell(Reason())
    return link.recv()
