# SPDX-License-Identifier: Apache-2.0
"""
Let a policy drive a simulated robot over ROS 2, and report how well it did.

The demo starts the simulated cell, the policy node with its inference worker, the controller, and
a twin process that only measures how late this machine wakes it up. It runs episodes in scenes
that were not in the training data, and writes its results to out/demo/.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any, TYPE_CHECKING

from tqdm import tqdm

from xvla_ros.bringup import (
    checkpoint_folder,
    embodiment_file,
    processes,
    transport_environment,
)
from xvla_ros.bringup.runner import Domain, Runner
from xvla_ros.core.checkpoints import checkpoint_overrides
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.core.ticker import load_record
from xvla_ros.sim.scenes import BIMANUAL, EVALUATE, PICK, sample_scene
from xvla_ros.tools.arguments import count
from xvla_ros.tools.demo.episode import run_episode
from xvla_ros.tools.demo.report import (
    Episode,
    Run,
    RunFiles,
    summarise,
    table,
    write_strip,
    write_summary,
    write_video,
)
from xvla_ros.tools.interrupts import interruptible
from xvla_ros.tools.needs import need_ros
from xvla_ros.tools.replay import override

if TYPE_CHECKING:  # these need ROS, but --help does not
    from xvla_ros.tools.demo.client import DemoClient

# Time to load a checkpoint, render the first image and discover all nodes, on a busy machine.
START_TIMEOUT_S = 180.0
# Files that policy_node and the twin write when they end.
RECORDS = ('run.npz', 'run.json', 'twin.npz')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--embodiment', default='franka', help='robot, or a *_sim.yaml file')
    parser.add_argument('--episodes', type=count, default=10, help='number (default: 10)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the scenes (default: 0)')
    parser.add_argument(
        '--task', choices=(PICK, BIMANUAL), default=PICK, help='bimanual: a block for each arm'
    )
    parser.add_argument('--time-limit', type=float, default=15.0, help='longest episode [s]')
    parser.add_argument('--checkpoint', help="checkpoint, instead of the embodiment's")
    parser.add_argument('--out', type=Path, default=Path('out/demo'), help='folder for results')
    parser.add_argument('--record', type=Path, metavar='DIR', help='record all topics into a bag')
    parser.add_argument(
        '--set', type=override, action='append', default=[], metavar='NAME=VALUE',
        help='replace a parameter of the embodiment',
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Run the demo; return 0 if it completed, even if the policy failed."""
    need_ros('xvla demo')
    embodiment, demo_run = drive(args)
    _write_results(args, embodiment, demo_run)
    return 0


def drive(args: Namespace) -> tuple[Embodiment, Run]:
    """
    Start a simulated robot over ROS and have the policy drive it through all episodes.

    :param args: of this command.
    :raises ConfigError: the robot cannot be driven, or has not the arms for the task.
    """
    path = embodiment_file(args.embodiment, sim=True).resolve()
    chosen = checkpoint_overrides(args.checkpoint and checkpoint_folder(args.checkpoint))
    overrides = {**dict(args.set), **chosen}
    embodiment = _drivable(path, overrides)
    sample_scene(embodiment, EVALUATE, args.seed, 0, args.task)
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        interruptible(signal.SIGINT, signal.SIGTERM) as check_interrupted,
        _system(args, path, embodiment, overrides) as runner,
    ):

        def look_after() -> None:
            check_interrupted()
            runner.check()

        demo_run = _episodes(args, embodiment, look_after)
    return embodiment, demo_run


def _drivable(path: Path, overrides: dict[str, Any]) -> Embodiment:
    """Return an embodiment; raise a ConfigError unless it is simulated, armed and has a policy."""
    embodiment = load_embodiment(path, overrides)
    if embodiment.sim is None:
        raise ConfigError(f"{path}: has no 'sim' block: use one of config/*_sim.yaml")
    if not embodiment.control.start_armed:
        raise ConfigError(f'{path}: control.start_armed is false: the robot would not move')
    if not (embodiment.policy.checkpoint or embodiment.policy.server_url):
        page = "docs/add-a-robot.md, 'Teach a policy'"
        if embodiment.joint_space:
            page = "docs/joint-space.md, 'Teach a policy joints'"
        raise ConfigError(
            f"no policy for '{embodiment.robot}': {path} names no policy.checkpoint, because the "
            'demo policy was not trained for this robot; train a policy '
            f'({page}) and name it with --checkpoint DIR'
        )
    return embodiment


def _write_results(args: Namespace, embodiment: Embodiment, demo_run: Run) -> None:
    """Write the results of a run as files, and print them."""
    if lacking := [name for name in RECORDS if not (args.out / name).exists()]:
        raise XvlaError(
            f'{args.out}: no {", ".join(lacking)}: the process that writes it at its end was '
            f'killed before; see {args.out}/log'
        )
    run_files = RunFiles(
        ticks=load_record(args.out / 'run.npz'),
        twin=load_record(args.out / 'twin.npz'),
        facts=json.loads((args.out / 'run.json').read_text(encoding='utf-8')),
    )
    episodes = demo_run.episodes
    summary = summarise(embodiment, args.seed, demo_run, run_files)
    write_summary(args.out / 'summary.json', summary)
    write_strip(args.out / 'strip.png', episodes)
    write_video(args.out / 'demo.mp4', episodes)
    print(table(episodes, summary))
    print(f'results are in {args.out}/')
    if not summary['successes']:
        print(
            f'xvla: no episode reached its block; {args.out}/log has the log of every process, '
            'and `xvla doctor` checks this machine',
            file=sys.stderr,
        )


@contextmanager
def _system(
    args: Namespace, path: Path, embodiment: Embodiment, overrides: dict[str, Any]
) -> Iterator[Runner]:
    """Start all processes, and end them when the context ends."""
    from xvla_ros.nodes.policy.timing_log import RECORD_VARIABLE

    for name in RECORDS:
        (args.out / name).unlink(missing_ok=True)
    domain = None if 'ROS_DOMAIN_ID' in os.environ else Domain()
    os.environ.update({**(domain.environment() if domain else {}), **transport_environment()})
    with Runner(args.out / 'log', {RECORD_VARIABLE: str(args.out.resolve() / 'run')}) as runner:
        rate = str(embodiment.control.rate_hz)
        twin = [sys.executable, '-m', 'xvla_ros.tools.demo.twin', '--rate', rate]
        runner.run('twin', [*twin, '--out', str(args.out / 'twin.npz')])
        for process in processes(path, sim=True, overrides=overrides):
            runner.start(process)
        if args.record:
            record = [sys.executable, '-m', 'xvla_ros.tools.cli', 'record']
            record += ['--embodiment', str(path), '--out', str(args.record)]
            record += ['--checkpoint', args.checkpoint] if args.checkpoint else []
            for name, value in args.set:
                record += ['--set', f'{name}={json.dumps(value)}']
            runner.run('record', record)
        yield runner


def _episodes(args: Namespace, embodiment: Embodiment, look_after: Callable[[], None]) -> Run:
    """Run all episodes and show their progress."""
    from xvla_ros.tools.demo.client import DemoClient

    client = DemoClient(look_after)
    try:
        _wait_for_policy(client)
        assert client.scene is not None  # it was waited for
        begun_s, simulated_s = time.monotonic(), client.scene.stamp_s
        episodes: list[Episode] = []
        with tqdm(range(args.episodes), desc=embodiment.robot, unit='episode') as bar:
            for number in bar:
                scene = sample_scene(embodiment, EVALUATE, args.seed, number, args.task)
                client.begin_scene(args.seed, number, args.task)
                episodes.append(run_episode(client, scene, number, args.time_limit, bar))
        passed_s = client.scene.stamp_s - simulated_s
        return Run(
            episodes=episodes,
            real_time_factor=passed_s / (time.monotonic() - begun_s),
            moved_while_holding_mm=client.stillness.moved_mm,
            controller_stops=client.controller_stops,
        )
    finally:
        client.close()


def _wait_for_policy(client: 'DemoClient') -> None:
    """Wait until the policy runs and a scene is received; raise an XvlaError on a policy fault."""
    from xvla_ros.msg import PolicyStatus

    def ready() -> bool:
        status = client.status
        if status and status.state == PolicyStatus.STATE_FAULT:
            raise XvlaError(f'policy_node: {status.message}')
        return bool(status and status.ticks and client.scene)

    client.wait(ready, START_TIMEOUT_S, 'the policy and the simulation to start')
