# SPDX-License-Identifier: Apache-2.0
"""
Run a simulated robot for a while, and watch memory, threads, descriptors and ticks.

    make soak [ARGS="--minutes 30"]

A twin process only ticks at the same rate: what it misses is the machine's.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import psutil
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile

from xvla_ros.bringup import processes
from xvla_ros.bringup.runner import Domain, Runner
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import PolicyStatus

FILE, RATE_HZ = 'franka_sim.yaml', 100.0
NODES = ('policy_node', 'controller_node')
WARM_UP_S, SAMPLE_S, START_S = 30.0, 2.0, 150.0
MOST_MIB_PER_MINUTE = 1.0
MIB = 2**20
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# A process that only ticks, and says how many ticks were more than half a period late.
TWIN = f"""
import threading, time
from xvla_ros.core.ticker import Ticker
missed, ticks, stop = 0, 0, threading.Event()
ticker = Ticker({RATE_HZ})
def tick(deadline_ns):
    global missed, ticks
    ticks += 1
    missed += time.monotonic_ns() - deadline_ns > ticker.period_ns // 2
threading.Thread(target=lambda: (input(), stop.set()), daemon=True).start()
ticker.run(tick, stop)
print(ticks, missed)
"""


class Soak:
    """A running system and what was measured of it."""

    def __init__(self, folder: Path) -> None:
        """Start everything."""
        os.environ.update(Domain().environment())
        rclpy.init()
        self.node = rclpy.create_node('soak')
        self.statuses: list[PolicyStatus] = []
        self.node.create_subscription(
            PolicyStatus, 'policy_node/status', self.statuses.append, LATCHED
        )
        overrides = {'control.rate_hz': RATE_HZ, 'policy.instruction': 'pick up the red block'}
        self.runner = Runner(folder)
        for process in processes(shared_file('config', FILE), sim=True, overrides=overrides):
            self.runner.start(process)
        self.wait(lambda: bool(self.statuses and self.statuses[-1].chunks > 3), START_S)

    def wait(self, condition: Any, timeout_s: float) -> bool:
        """Listen until a condition holds, or for the time."""
        deadline_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline_s:
            rclpy.spin_once(self.node, timeout_sec=0.1)
        del self.statuses[:-1]
        return bool(condition())

    def sample(self) -> dict[str, tuple[float, int, int]]:
        """Return memory [MiB], threads and descriptors of every process."""
        found = {name: psutil.Process(self.runner.pid(name)) for name in NODES}
        (worker,) = found['policy_node'].children()
        found['worker'] = worker
        return {
            name: (p.memory_info().rss / MIB, p.num_threads(), p.num_fds())
            for name, p in found.items()
        }

    def close(self) -> None:
        """End everything."""
        self.runner.stop()
        self.node.destroy_node()
        rclpy.try_shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak; 0 when nothing grows and no more ticks are missed than by the twin."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=3.0)
    parser.add_argument('--out', type=Path, default=Path('out/soak.json'))
    args = parser.parse_args(arguments)
    soak = Soak(args.out.parent / 'soak')
    try:
        soak.wait(lambda: False, WARM_UP_S)
        twin = subprocess.Popen(
            [sys.executable, '-c', TWIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        before, samples = soak.statuses[-1], []
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 60 * args.minutes:
            samples.append((time.monotonic() - begun_s, soak.sample()))
            soak.wait(lambda: False, SAMPLE_S)
        told = twin.communicate('\n')[0].split()
        results = figures(samples, before, soak.statuses[-1], [int(word) for word in told])
    finally:
        soak.close()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(results, indent=1))
    return int(bool(results['wrong']))


def figures(
    samples: Sequence[tuple[float, dict[str, tuple[float, int, int]]]],
    before: PolicyStatus,
    after: PolicyStatus,
    twin: Sequence[int],
) -> dict[str, Any]:
    """Return what grew and what was missed; `wrong` says what is too much."""
    wrong, each = [], {}
    minutes = np.array([when for when, _ in samples]) / 60
    for name in samples[0][1]:
        memory, threads, descriptors = np.array([sample[name] for _, sample in samples]).T
        slope = float(np.polyfit(minutes, memory, 1)[0])
        grown = [_grown(threads), _grown(descriptors)]
        rounded = round(slope, 2)
        each[name] = {
            'mib_per_minute': rounded,
            'threads': grown[0],
            'descriptors': grown[1],
        }
        if slope > MOST_MIB_PER_MINUTE:
            wrong.append(f'{name}: memory grows by {slope:.2f} MiB a minute')
        if max(grown) > 0:
            wrong.append(f'{name}: {grown[0]} threads and {grown[1]} descriptors more')
    ticks, missed = after.ticks - before.ticks, after.missed_ticks - before.missed_ticks
    ours, theirs = 100 * missed / max(ticks, 1), 100 * twin[1] / max(twin[0], 1)
    if ours > theirs:
        wrong.append(f'{ours:.2f} % of the ticks missed, the twin {theirs:.2f} %')
    return {
        'minutes': round(float(minutes[-1]), 1),
        'chunks': after.chunks - before.chunks,
        'missed_percent': round(ours, 2),
        'twin_missed_percent': round(theirs, 2),
        **each,
        'wrong': wrong,
    }


def _grown(counts: NDArray[np.float64]) -> int:
    """Return by how much the most of the second half exceeds the most of the first."""
    half = max(1, len(counts) // 2)
    return int(counts[half:].max(initial=0) - counts[:half].max())


if __name__ == '__main__':
    sys.exit(main())
