# SPDX-License-Identifier: Apache-2.0
"""
Run the demo on every robot under every condition, and print one table.

    python -m bench.demo_matrix [--episodes 10] [--robots franka widowx agilex] [--seeds 0 1]

Conditions: `idle`, as the machine is; `sse41`, with the instructions of a processor of 2008; and
`busy4` and `busy8`, beside so many busy processes of ordinary priority. A run that has a
summary.json in --out is not run again, so that an interrupted matrix goes on; --again runs all.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import Any

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.embodiment import load_embodiment

ROBOTS = ('franka', 'widowx', 'agilex')
SEEDS = (0, 1)
BUSY = 'while True: pass'
# What a run must reach: share of episodes, real-time factor by condition, and movement in a hold.
LEAST_REACHED = 0.9
LEAST_FACTOR = {'idle': 0.95, 'busy4': 0.25}
MOST_MOVED_MM = 2.0
MOST_WALL_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Where a demo runs: variables of its environment, and busy processes beside it."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    busy: int = 0


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition(name='idle'),
        Condition(
            name='sse41',
            environment={'ATEN_CPU_CAPABILITY': 'default', 'DNNL_MAX_CPU_ISA': 'SSE41'},
        ),
        Condition(name='busy4', busy=4),
        Condition(name='busy8', busy=8),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run: its condition, robot and seed, its summary.json and how long it took [s]."""

    condition: str
    robot: str
    seed: int
    summary: dict[str, Any]
    wall_s: float

    @property
    def inference_ms(self) -> float:
        """Median time of an inference [ms]."""
        return float(self.summary['inference_ms']['p50'])

    def shortcomings(self) -> list[str]:
        """Return which of the demo's bars this run misses."""
        summary, missed = self.summary, []
        if summary['successes'] < LEAST_REACHED * summary['episodes']:
            missed.append('reached')
        if summary['controller_stops']:
            missed.append('stops')
        if summary['moved_while_holding_mm'] > MOST_MOVED_MM:
            missed.append('moved')
        if summary['real_time_factor'] < LEAST_FACTOR.get(self.condition, 0.0):
            missed.append('real time')
        if self.wall_s > MOST_WALL_S:
            missed.append('duration')
        return missed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and print the table; 0 when every run reaches the bars."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--episodes', type=int, default=10)
    parser.add_argument('--robots', nargs='+', default=ROBOTS)
    parser.add_argument('--seeds', nargs='+', type=int, default=SEEDS)
    parser.add_argument('--conditions', nargs='+', default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument('--out', type=Path, default=Path('out/demo-matrix'))
    parser.add_argument('--again', action='store_true', help='run all, whatever is there')
    parser.add_argument('--page', type=Path, help='write the table into this Markdown file, too')
    args = parser.parse_args(arguments)
    rows = [
        _row(args, CONDITIONS[condition], robot, seed)
        for condition in args.conditions
        for seed in args.seeds
        for robot in args.robots
    ]
    text = table(rows)
    print(text)
    if args.page:
        args.page.write_text(page(text, args.episodes), encoding='utf-8')
    return int(any(row.shortcomings() for row in rows))


def _row(args: Namespace, condition: Condition, robot: str, seed: int) -> Row:
    """Run one demo, unless it has been run, and return its row."""
    out = args.out / condition.name / f'{robot}-{seed}'
    summary, wall = out / 'summary.json', out / 'wall.json'
    if args.again or not (summary.exists() and wall.exists()):
        print(f'[matrix] {condition.name}: {robot}, seed {seed} ...', flush=True)
        wall.unlink(missing_ok=True)
        begun_s = time.monotonic()
        with busy_processes(condition.busy):
            _run_demo(condition, robot, seed, args.episodes, out)
        wall.write_text(json.dumps(time.monotonic() - begun_s), encoding='utf-8')
    return Row(
        condition=condition.name,
        robot=robot,
        seed=seed,
        summary=json.loads(summary.read_text(encoding='utf-8')),
        wall_s=json.loads(wall.read_text(encoding='utf-8')),
    )


def _run_demo(condition: Condition, robot: str, seed: int, episodes: int, out: Path) -> None:
    """
    Run the command that users run.

    :raises CalledProcessError: it did not complete; what it said is on the screen.
    """
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'demo', '--embodiment', robot]
    command += ['--seed', str(seed), '--episodes', str(episodes), '--out', str(out)]
    subprocess.run(command, check=True, env={**os.environ, **condition.environment})


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep the processor busy with processes of ordinary priority, each a session of its own."""
    running = [
        subprocess.Popen([sys.executable, '-c', BUSY], start_new_session=True)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def fair_slowdown(robot: str, busy: int) -> float:
    """Return how much longer an inference takes when all runnable threads share the cores."""
    threads = load_embodiment(embodiment_file(robot, sim=True)).policy.threads
    cores = len(os.sched_getaffinity(0))
    return max(1.0, (threads + busy) / max(cores, threads))


def table(rows: Sequence[Row]) -> str:
    """Return the runs as a Markdown table; `x idle` needs the same robot's idle run."""
    idle = {(row.robot, row.seed): row.inference_ms for row in rows if row.condition == 'idle'}
    lines = [
        '| condition | robot | seed | reached | stops | moved in a hold | real-time factor '
        '| inference p50 | x idle (fair share) | lateness p99 (twin) | took | missed |',
        '|---|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    return '\n'.join([*lines, *(_line(row, idle.get((row.robot, row.seed))) for row in rows)])


def _line(row: Row, idle_ms: float | None) -> str:
    s, control = row.summary, row.summary['control']
    times = f'{row.inference_ms / idle_ms:.1f}' if idle_ms else '-'
    fair = fair_slowdown(row.robot, CONDITIONS[row.condition].busy)
    return (
        f'| {row.condition} | {row.robot} | {row.seed} | {s["successes"]} of {s["episodes"]} '
        f'| {s["controller_stops"]} | {s["moved_while_holding_mm"]:.1f} mm '
        f'| {s["real_time_factor"]:.2f} | {row.inference_ms:.0f} ms | {times} ({fair:.1f}) '
        f'| {control["lateness_ms_p99"]:.1f} ({control["twin_lateness_ms_p99"]:.1f}) ms '
        f'| {row.wall_s:.0f} s | {", ".join(row.shortcomings()) or "-"} |'
    )


def page(text: str, episodes: int) -> str:
    """Return the page of the documentation that holds the table."""
    cores, machine = len(os.sched_getaffinity(0)), _processor()
    return f"""# The demo on idle, old and busy machines

`make demo-matrix` runs `xvla demo` ({episodes} episodes a run) and wrote this page. The machine of
this run: {machine}, {cores} cores.

* `idle`: as the machine is. `sse41`: `ATEN_CPU_CAPABILITY=default DNNL_MAX_CPU_ISA=SSE41`, the
  instructions of a processor of 2008. `busy4`, `busy8`: beside 4 or 8 busy processes of ordinary
  priority.
* *reached*: the tool stayed above the named block. *stops*: times that the controller stopped the
  arms. *moved in a hold*: the farthest that a tool moved while the policy said hold.
* *real-time factor*: simulated over real time. The simulation's clock slows down where it must.
* *x idle (fair share)*: inference time against the same robot's idle run, and how much longer it
  would take if every busy thread got the same share of the cores.
* *lateness*: how late control ticks ran, in wall time, and a process beside it that only ticks.
* *missed*: which of these a run misses: 9 of 10 reached, no stop, 2 mm in a hold, a real-time
  factor of 0.95 idle and 0.25 beside 4 processes, 10 minutes.

{text}
"""


def _processor() -> str:
    """Return the processor's name."""
    for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.processor()


if __name__ == '__main__':
    sys.exit(main())
