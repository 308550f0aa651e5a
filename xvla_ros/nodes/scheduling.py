# SPDX-License-Identifier: Apache-2.0
"""Who runs first on a busy machine, as far as this user may decide it."""

from contextlib import suppress
import os
from pathlib import Path

# Any real-time priority comes before all ordinary processes; low, so that drivers can come first.
PRIORITY = 10


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


def yield_priority(nice: int) -> None:
    """
    Let others go first: raise our nice level, and that of our session.

    Linux shares the processor between sessions first (autogroup, on by default on desktops), and
    nice counts within one only: who yields needs a session of its own.
    """
    os.nice(nice)
    with suppress(OSError):  # no such file: the kernel does not group
        Path('/proc/self/autogroup').write_text(f'{nice}\n')
