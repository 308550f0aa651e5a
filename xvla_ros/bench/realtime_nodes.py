# SPDX-License-Identifier: Apache-2.0
"""
The real-time path as it runs: processes, DDS, three 640x480 cameras at 30 Hz, targets at 100 Hz.

Two runs of the policy node with a small real network. In the first, every frame and the way from
camera stamp to target are counted. In the second, the worker is killed, so that a model is loaded,
warmed up and garbage-collected while the control thread ticks. A twin process only ticks beside.
"""

from collections.abc import Callable
import json
import os
from pathlib import Path
import signal
import sys
import tempfile
import time
from typing import Any

import numpy as np
import psutil
import yaml

from xvla_ros.bench.still_policy import write_still
from xvla_ros.bringup import processes, transport_environment
from xvla_ros.bringup_runner import Domain, Runner
from xvla_ros.core.embodiment import load_embodiment, read_parameter_file
from xvla_ros.core.errors import XvlaError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.ticker import LatenessRecord, load_record
from xvla_ros.nodes.policy_record import RECORD_VARIABLE

RATE_HZ = 100.0
CAMERAS = ('main', 'wrist', 'side')
STREAM_S, SECOND_RUN_S, KILL_AFTER_S = 20.0, 40.0, 5.0
START_TIMEOUT_S = 120.0
AWAY_M = (0.0, 0.06, -0.06)
# Left out at both ends of a run: starting and ending are not what is measured.
MARGIN_NS = 1_000_000_000


def run() -> dict[str, dict[str, Any]]:
    """Return realtime.{lateness_p50_ms, missed_percent, ...}, keyed by name."""
    domain = Domain()
    os.environ.update({**domain.environment(), **transport_environment()})
    with tempfile.TemporaryDirectory(prefix='xvla_bench') as folder:
        path = _embodiment(Path(folder))
        quiet = _Run(Path(folder) / 'quiet', path, STREAM_S, kill=False)
        killed = _Run(Path(folder) / 'killed', path, SECOND_RUN_S, kill=True)
    ticks = len(quiet.ticks.lateness_ns) + len(killed.ticks.lateness_ns)
    worst = {'ours': killed.ticks.max_ms, 'twin': killed.twin.max_ms}
    return {
        'realtime.lateness_p50_ms': _figure(quiet.ticks.percentile_ms(50), 'ms', ticks)
        | {'twin': quiet.twin.percentile_ms(50), 'p99': quiet.ticks.percentile_ms(99)},
        'realtime.missed_percent': _figure(quiet.ticks.missed_percent(quiet.twin), '%', ticks),
        'realtime.lateness_max_over_twin': _figure(worst['ours'] / worst['twin'], 'x', ticks)
        | {'max_ms': worst['ours'], 'twin_max_ms': worst['twin']},
        'realtime.overhead_p50_ms': _figure(
            float(np.percentile(quiet.overhead_ms, 50)), 'ms', len(quiet.overhead_ms)
        )
        | {'p99': float(np.percentile(quiet.overhead_ms, 99))},
        'realtime.frames_lost': _figure(
            quiet.frames_sent - quiet.frames_received, 'frames', quiet.frames_sent
        ),
    }


def _figure(ours: float, unit: str, count: int) -> dict[str, Any]:
    return {'ours': round(ours, 4), 'unit': unit, 'n': count}


def _embodiment(folder: Path) -> Path:
    """Write a Franka with three cameras, 100 Hz, and the small policy."""
    parameters = read_parameter_file(shared_file('config', 'franka_sim.yaml'))
    del parameters['sim']
    still = write_still(
        folder / 'still', load_embodiment(shared_file('config', 'franka_sim.yaml')), AWAY_M
    )
    parameters['camera_names'] = list(CAMERAS)
    parameters['cameras'] = {name: {'topic': f'camera/{name}/image_raw'} for name in CAMERAS}
    parameters['policy'] |= {'checkpoint': str(still), 'instruction': 'pick up the red block'}
    parameters['control']['rate_hz'] = RATE_HZ
    path = folder / 'franka_three_cameras.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    return path


class _Run:
    """One run of the policy node beside a twin; its attributes are what was measured."""

    def __init__(self, folder: Path, path: Path, stream_s: float, kill: bool) -> None:
        self.overhead_ms = np.array([np.nan])
        (policy,) = (p for p in processes(path, sim=False) if p.name == 'policy_node')
        with Runner(folder, {RECORD_VARIABLE: str(folder / 'run')}) as runner:
            tool = [sys.executable, '-m']
            runner.run(
                'twin',
                [
                    *tool,
                    'xvla_ros.tools.twin',
                    '--rate',
                    str(RATE_HZ),
                    '--out',
                    str(folder / 'twin.npz'),
                ],
            )
            runner.start(policy)
            rig = [
                'xvla_ros.bench.camera_rig',
                '--embodiment',
                str(path),
                '--seconds',
                str(stream_s),
            ]
            runner.run('rig', [*tool, *rig, '--out', str(folder / 'rig.json')])
            counter = ['xvla_ros.bench.frame_counter', '--embodiment', str(path)]
            runner.run('counter', [*tool, *counter, '--out', str(folder / 'counter.json')])
            watch = Watch(runner)
            try:
                watch.until(lambda: watch.targets > 0, START_TIMEOUT_S, 'the first target')
                if kill:
                    watch.until(watch.after(KILL_AFTER_S), 2 * KILL_AFTER_S, 'the time to kill')
                    (worker,) = psutil.Process(runner.pid('policy_node')).children()
                    os.kill(worker.pid, signal.SIGKILL)
                watch.until(
                    lambda: runner.ended('rig') is not None, START_TIMEOUT_S, 'the stream to end'
                )
            finally:
                watch.close()
        facts = json.loads((folder / 'run.json').read_text())
        self.frames_received = json.loads((folder / 'counter.json').read_text())['frames']
        self.frames_sent = json.loads((folder / 'rig.json').read_text())['frames_sent']
        self.overhead_ms = watch.overhead_ms(facts['inference_s'])
        self.ticks, self.twin = _together(
            load_record(folder / 'run.npz'), load_record(folder / 'twin.npz')
        )


def _together(ours: LatenessRecord, twin: LatenessRecord) -> tuple[LatenessRecord, LatenessRecord]:
    """Return both records over the time that they share, without its ends."""
    start = max(ours.deadlines_ns[0], twin.deadlines_ns[0]) + MARGIN_NS
    end = min(ours.deadlines_ns[-1], twin.deadlines_ns[-1]) - MARGIN_NS
    return ours.between(start, end), twin.between(start, end)


class Watch:
    """Listens to chunks and targets; no measured process waits for it."""

    def __init__(self, runner: Runner) -> None:
        """Join the domain."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from xvla_ros.msg import ActionChunk, EndEffectorCommand

        rclpy.init()
        self._rclpy, self._runner = rclpy, runner
        self._node = rclpy.create_node('realtime_watch')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._node.create_subscription(
            EndEffectorCommand, 'policy_node/target', self._on_target, 100
        )
        self._node.create_subscription(ActionChunk, 'policy_node/action_chunk', self._on_chunk, 10)
        self.targets = 0
        self._first_target_ns: dict[int, int] = {}
        self._chunk_ns: dict[int, int] = {}

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._rclpy.try_shutdown()

    def after(self, seconds: float) -> Callable[[], bool]:
        """Return a condition that holds once some time has passed."""
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Serve callbacks until a condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            for name in ('policy_node', 'twin'):
                if self._runner.ended(name) is not None:
                    self._runner.check()
            if time.monotonic() > deadline:
                raise XvlaError(f'waited {timeout_s:.0f} s for {what}')

    def overhead_ms(self, inference_s: list[float]) -> np.ndarray:
        """Return, per chunk, the time from oldest input to first target, less the model."""
        return np.array(
            [
                (self._first_target_ns[n] - stamp_ns) * 1e-6 - inference_s[n - 1] * 1e3
                for n, stamp_ns in self._chunk_ns.items()
                if n in self._first_target_ns and 1 < n <= len(inference_s)
            ]
        )

    def _on_target(self, message: Any) -> None:
        if not message.hold:
            self.targets += 1
            stamp = message.header.stamp
            self._first_target_ns.setdefault(message.sequence, stamp.sec * 10**9 + stamp.nanosec)

    def _on_chunk(self, message: Any) -> None:
        stamp = message.header.stamp
        self._chunk_ns[message.sequence] = stamp.sec * 10**9 + stamp.nanosec
