# SPDX-License-Identifier: Apache-2.0
"""
How fast a bag replays and is reported on: 60 s of three JPEG cameras at 30 Hz and two arms.

The bag is simulated in simulated time and kept in out/bench. `replay.speed` takes the recorded
chunks as the answers, so it measures reading, observations, gate and queue;
`replay.speed_with_model` runs the demo policy as well. `cpu` is the same in processor time, which
other work on the machine lengthens less.
"""

from collections.abc import Callable
from pathlib import Path
import shutil
import time

from tqdm import tqdm

from xvla_ros.core.resources import shared_file
from xvla_ros.replay.options import Options
from xvla_ros.replay.report.page import page
from xvla_ros.replay.run import replay_deterministic
from xvla_ros.testing.simulated_bag import simulate_bag, Simulation
from xvla_ros.tools.report import collect

FOLDER = Path('out/bench')
SECONDS, RUNS = 60.0, 3


def run() -> dict[str, dict[str, float | str]]:
    """Return replay.speed, replay.speed_with_model (times real time) and replay.report_s."""
    bag = _bag()
    speeds = [
        _timed(lambda: _replay(bag, Options(model=False))) for _ in tqdm(range(RUNS), 'replays')
    ]
    model_s, model_cpu_s = _timed(lambda: _replay(bag, Options()))
    report_s, report_cpu_s = _timed(lambda: page(collect(bag, None, None)))
    wall_s, cpu_s = min(speeds)
    return {
        'replay.speed': {
            'ours': round(SECONDS / wall_s, 2),
            'unit': 'x real time',
            'n': RUNS,
            'cpu': round(SECONDS / cpu_s, 2),
        },
        'replay.speed_with_model': {
            'ours': round(SECONDS / model_s, 2),
            'unit': 'x real time',
            'n': 1,
            'cpu': round(SECONDS / model_cpu_s, 2),
        },
        'replay.report_s': {
            'ours': round(report_s, 2),
            'unit': 's',
            'n': 1,
            'cpu': round(report_cpu_s, 2),
        },
    }


def _bag() -> Path:
    """Return the bag, simulated unless an earlier run left it complete."""
    bag = FOLDER / 'replay_bag'
    if not (bag / 'complete').exists():
        shutil.rmtree(bag, ignore_errors=True)
        simulate_bag(bag, shared_file('config', 'agilex_sim.yaml'), Simulation(seconds=SECONDS))
        (bag / 'complete').touch()
    return bag


def _replay(bag: Path, options: Options) -> None:
    replay_deterministic(bag, FOLDER / 'replay_out', options)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return how long work took, on the wall and of the processor [s]."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == '__main__':
    for name, entry in run().items():
        print(f'{name}: {entry}')
