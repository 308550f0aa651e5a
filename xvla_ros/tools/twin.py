# SPDX-License-Identifier: Apache-2.0
"""
A process that only ticks, beside the one that controls: what is late here is the machine's doing.

    python -m xvla_ros.tools.twin --rate 50 --out twin.npz      until SIGTERM
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
    """Tick until told to end, then write the record."""
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
