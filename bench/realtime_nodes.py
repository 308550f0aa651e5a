# SPDX-License-Identifier: Apache-2.0
"""
The real-time path as it runs: processes, DDS, three 640x480 cameras at 30 Hz, targets at 100 Hz.

Two lives of the policy node with a small real network: as it is started here, and without the
right to a real-time priority. In each, first every frame and the way from camera stamp to target
are counted. Then listeners join and leave, the worker is killed, the checkpoint is changed, and
something is compiled beside it, while the control thread ticks. A twin process only ticks beside.
"""

from collections.abc import Sequence
import json
import os
from pathlib import Path
import shutil
import signal
import sys
import tempfile
import time
from typing import Any

import numpy as np
import psutil
import yaml

from bench.realtime_stages import STAGES, stages_ms
from bench.realtime_watch import START_TIMEOUT_S, Watch
from xvla_ros.bringup import processes, transport_environment
from xvla_ros.bringup.runner import Domain, Runner
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import XvlaError
from xvla_ros.core.parameter_file import read_parameter_file
from xvla_ros.core.resources import shared_file
from xvla_ros.core.ticker import LatenessRecord, load_record
from xvla_ros.nodes.policy.timing_log import RECORD_VARIABLE
from xvla_ros.testing.still_policy import write_still

RATE_HZ = 100.0
CAMERAS = ('main', 'wrist', 'side')
STREAM_S = 20.0
LAST_CHARS = 500
# Processes that join while targets flow, and how many targets each hears before it leaves.
LISTENERS, HEARD = 6, 50
AWAY_M, OTHER_WAY_M = (0.0, 0.06, -0.06), (0.0, -0.06, -0.06)
# Left out at both ends of a record: starting and ending are not what is measured.
MARGIN_NS = 1_000_000_000
# What takes the right to a real-time priority from a process, root's too (util-linux).
DENIED = ('setpriv', '--bounding-set', '-sys_nice', '--inh-caps', '-sys_nice')


def run() -> dict[str, dict[str, Any]]:
    """Return realtime.{lateness_p50_ms, missed_percent, ...}, keyed by name."""
    domain = Domain()
    os.environ.update({**domain.environment(), **transport_environment()})
    with tempfile.TemporaryDirectory(prefix='xvla_bench') as folder:
        path, other = _embodiment(Path(folder))
        ours = _Run(Path(folder) / 'ours', path, other)
        denied = None
        if shutil.which(DENIED[0]):
            denied = _Run(Path(folder) / 'denied', path, other, prefix=DENIED)
    figures = _figures(ours)
    for name, entry in (_figures(denied) if denied else {}).items():
        figures[name]['unprivileged'] = entry['ours']
        for key in ('p99', 'twin', 'max_ms', 'twin_max_ms'):
            if key in entry:
                figures[name][f'unprivileged_{key}'] = entry[key]
    return figures


def _figures(run: '_Run') -> dict[str, dict[str, Any]]:
    """Return the figures of one life of the policy node."""
    ticks, twin = run.quiet
    worst = {'max_ms': run.disturbed[0].max_ms, 'twin_max_ms': run.disturbed[1].max_ms}
    overhead_ms = run.stages['overhead']
    p50, p99 = (float(np.percentile(overhead_ms, percent)) for percent in (50, 99))
    beside_model = float(np.percentile(run.stages['beside_model'], 50))
    stages = {name: _row(run.stages[name]) for name in STAGES}
    count = len(ticks.lateness_ns)
    return {
        'realtime.lateness_p50_ms': _figure(ticks.percentile_ms(50), 'ms', count)
        | {'twin': twin.percentile_ms(50), 'p99': ticks.percentile_ms(99)},
        'realtime.missed_percent': _figure(ticks.missed_percent(twin), '%', count),
        'realtime.lateness_max_over_twin': _figure(
            worst['max_ms'] / worst['twin_max_ms'], 'x', len(run.disturbed[0].lateness_ns)
        )
        | worst,
        'realtime.overhead_p50_ms': _figure(p50, 'ms', len(overhead_ms))
        | {'p99': p99, 'with_busy_p50': round(beside_model, 4), 'by_stage': stages},
        'realtime.frames_lost': _figure(
            run.frames_sent - run.frames_received, 'frames', run.frames_sent
        ),
    }


def _row(values: np.ndarray) -> dict[str, float]:
    """Return how long a stage takes [ms]."""
    percentiles = {f'p{p}': round(float(np.percentile(values, p)), 3) for p in (50, 90)}
    return {'mean': round(float(values.mean()), 3), **percentiles}


def _figure(ours: float, unit: str, count: int) -> dict[str, Any]:
    return {'ours': round(ours, 4), 'unit': unit, 'n': count}


def _embodiment(folder: Path) -> tuple[Path, Path]:
    """Write a Franka with three cameras, 100 Hz and a small policy; and another such policy."""
    parameters = read_parameter_file(shared_file('config', 'franka_sim.yaml'))
    del parameters['sim']
    parameters['use_sim_time'] = False
    franka = load_embodiment(shared_file('config', 'franka_sim.yaml'))
    still = write_still(folder / 'still', franka, AWAY_M)
    other = write_still(folder / 'other', franka, OTHER_WAY_M)
    parameters['camera_names'] = list(CAMERAS)
    parameters['cameras'] = {name: {'topic': f'camera/{name}/image_raw'} for name in CAMERAS}
    parameters['policy'] |= {'checkpoint': str(still), 'instruction': 'pick up the red block'}
    parameters['control']['rate_hz'] = RATE_HZ
    path = folder / 'franka_three_cameras.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    return path, other


class _Run:
    """One life of the policy node beside a twin; its attributes are what was measured."""

    def __init__(self, folder: Path, path: Path, other: Path, prefix: Sequence[str] = ()) -> None:
        """Run the policy node; `prefix` comes before its command."""
        self._folder, self._path = folder, path
        (policy,) = (p for p in processes(path, sim=False) if p.name == 'policy_node')
        with Runner(folder, {RECORD_VARIABLE: str(folder / 'run')}) as runner:
            self._runner = runner
            self._start('twin', 'xvla_ros.tools.demo.twin', '--rate', RATE_HZ)
            runner.run('policy_node', [*prefix, *policy.command()], policy.environment)
            self._start('counter', 'bench.frame_counter', '--embodiment', path)
            watch = Watch(runner)
            try:
                self._stream(watch)
                self._disturb(watch, other)
            finally:
                watch.close()
            offset_ns = time.time_ns() - time.monotonic_ns()
        self._read(watch, offset_ns)

    def _start(self, name: str, module: str, *options: object) -> None:
        """Start a module that writes its results to a file of that name."""
        end = 'npz' if name == 'twin' else 'json'
        options = (*options, '--out', self._folder / f'{name}.{end}')
        self._runner.run(name, [sys.executable, '-m', module, *map(str, options)])

    def _rig(self, name: str, seconds: float, listeners: int) -> None:
        options = ('--embodiment', self._path, '--seconds', seconds, '--listeners', listeners)
        self._start(name, 'bench.camera_rig', *options)

    def _ended(self, watch: Watch, name: str) -> None:
        """Wait for a process to end by itself."""
        ended = self._runner.ended
        watch.until(lambda: ended(name) is not None, START_TIMEOUT_S, f'{name} to end')
        if ended(name):
            raise XvlaError(f'{name} failed: {self._runner.log(name).read_text()[-LAST_CHARS:]}')

    def _stream(self, watch: Watch) -> None:
        """Publish frames for STREAM_S, let the policy answer them, and count both."""
        self._rig('rig', STREAM_S, listeners=2)  # the worker and the counter
        watch.until(lambda: watch.targets > 0, START_TIMEOUT_S, 'the first target')
        quiet_from_ns = time.monotonic_ns()
        self._ended(watch, 'rig')
        self._quiet_ns = quiet_from_ns, time.monotonic_ns()
        self._runner.stop('counter')

    def _disturb(self, watch: Watch, other: Path) -> None:
        """Join listeners, kill the worker, swap checkpoints and compile while frames go on."""
        begin_ns = time.monotonic_ns()
        self._rig('endless_rig', 10 * START_TIMEOUT_S, listeners=1)
        watch.until_moving(restarts=0)
        for number in range(LISTENERS):
            self._start(f'listener{number}', 'bench.target_listener', '--targets', HEARD)
            self._ended(watch, f'listener{number}')
        (worker,) = psutil.Process(self._runner.pid('policy_node')).children()
        os.kill(worker.pid, signal.SIGKILL)
        watch.until_moving(restarts=1)
        watch.set_parameter('policy.checkpoint', str(other))
        watch.until_moving(restarts=2)
        nice = load_embodiment(self._path).policy.nice
        self._start('compile', 'bench.compile_warmup', '--nice', nice)
        self._ended(watch, 'compile')
        self._disturbed_ns = begin_ns, time.monotonic_ns()

    def _read(self, watch: Watch, offset_ns: int) -> None:
        """Read what the processes wrote when they ended."""
        facts, rig, counter = (
            json.loads((self._folder / f'{name}.json').read_text())
            for name in ('run', 'rig', 'counter')
        )
        self.frames_sent, self.frames_received = rig['frames_sent'], counter['frames']
        self.stages = stages_ms(
            facts['answers'], watch.first_target_ns, rig['triggers_ns'], offset_ns
        )
        records = [load_record(self._folder / f'{name}.npz') for name in ('run', 'twin')]
        self.quiet = _between(records, *self._quiet_ns)
        self.disturbed = _between(records, *self._disturbed_ns)


def _between(
    records: Sequence[LatenessRecord], start_ns: int, end_ns: int
) -> tuple[LatenessRecord, LatenessRecord]:
    """Return both records over a time span, without MARGIN_NS at its ends."""
    ours, twin = (r.between(start_ns + MARGIN_NS, end_ns - MARGIN_NS) for r in records)
    return ours, twin
