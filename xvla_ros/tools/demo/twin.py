# SPDX-License-Identifier: Apache-2.0
"""
A process that only ticks, at the rate of the control process.

A tick that is late here, too, is late because of the machine and not because of the policy node.

    python -m xvla_ros.tools.demo.twin --rate 50 --out twin.npz      until SIGTERM
"""

from argparse import ArgumentParser
from collections.abc import Sequence
import gc
from pathlib import Path
import signal
import sys
from threading import Event

from xvla_ros.core.ticker import Ticker


def main(arguments: Sequence[str] | None = None) -> int:
    """Tick until a signal, then write the record of all ticks."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--rate', type=float, required=True, help='ticks per second')
    parser.add_argument('--out', type=Path, required=True, help='file for the record')
    options = parser.parse_args(arguments)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    gc.freeze()
    gc.disable()
    ticker = Ticker(options.rate)
    ticker.run(lambda deadline_ns: None, stop)
    ticker.record().save(options.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
