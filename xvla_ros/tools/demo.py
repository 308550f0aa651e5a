# SPDX-License-Identifier: Apache-2.0
"""
Let a policy drive a simulated robot, over ROS 2, and say how well it did.

Starts the simulated cell, the policy node with its inference worker, the controller, and a process
that only ticks for comparison; runs seeded episodes that no training has seen; writes out/demo/.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import signal
import sys

from tqdm import tqdm

from xvla_ros.bringup import (
    checkpoint_folder,
    embodiment_file,
    processes,
    transport_environment,
)
from xvla_ros.bringup_runner import Domain, Runner
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.core.ticker import load_record
from xvla_ros.sim.scenes import EVALUATE, sample_scene
from xvla_ros.tools.arguments import count
from xvla_ros.tools.demo_judge import ReachJudge
from xvla_ros.tools.demo_report import (
    Episode,
    RunFiles,
    summarise,
    table,
    write_strip,
    write_summary,
    write_video,
)
from xvla_ros.tools.interrupts import interruptible

# Loading a checkpoint, the first picture of the simulation and DDS discovery, on a loaded machine.
START_TIMEOUT_S = 180.0
# What policy_node and the twin write when they end.
RECORDS = ('run.npz', 'run.json', 'twin.npz')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--embodiment', default='franka', help='robot, or a *_sim.yaml file')
    parser.add_argument('--episodes', type=count, default=10, help='how many (default: 10)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the scenes (default: 0)')
    parser.add_argument('--time-limit', type=float, default=15.0, help='longest episode [s]')
    parser.add_argument('--checkpoint', help='another policy than the embodiment names')
    parser.add_argument('--out', type=Path, default=Path('out/demo'), help='folder for results')
    parser.add_argument('--record', type=Path, metavar='DIR', help='record all topics into a bag')


def run(args: Namespace) -> int:
    """Run the demo; 0 when it completed, however well the policy did."""
    path = embodiment_file(args.embodiment, sim=True).resolve()
    overrides = (
        {'policy.checkpoint': checkpoint_folder(args.checkpoint)} if args.checkpoint else {}
    )
    embodiment = _drivable(path, overrides)
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        interruptible(signal.SIGINT, signal.SIGTERM) as check_interrupted,
        _system(args, path, embodiment, overrides) as runner,
    ):

        def look_after() -> None:
            check_interrupted()
            runner.check()

        episodes = _episodes(args, embodiment, look_after)
    _write_results(args, embodiment.robot, episodes)
    return 0


def _drivable(path: Path, overrides: dict[str, object]) -> Embodiment:
    """Read a robot that can be simulated, and that a policy moves."""
    embodiment = load_embodiment(path, overrides)
    if embodiment.sim is None:
        raise ConfigError(f"{path}: has no 'sim' block, so it cannot be simulated")
    if not embodiment.control.start_armed:
        raise ConfigError(f'{path}: control.start_armed is false: the robot would not move')
    if not (embodiment.policy.checkpoint or embodiment.policy.server_url):
        raise ConfigError(
            f"no policy drives '{embodiment.robot}': {path} names no policy.checkpoint, because "
            'the demo policy that comes with the package was not trained for it; train one '
            "(docs/add-a-robot.md, 'Teach a policy') and give it by --checkpoint DIR"
        )
    return embodiment


def _write_results(args: Namespace, robot: str, episodes: list[Episode]) -> None:
    """Sum up what the processes recorded, in files and on the screen."""
    if lacking := [name for name in RECORDS if not (args.out / name).exists()]:
        raise XvlaError(
            f'{args.out}: no {", ".join(lacking)}: who writes them at its end was killed before; '
            f'see {args.out}/log'
        )
    run_files = RunFiles(
        ticks=load_record(args.out / 'run.npz'),
        twin=load_record(args.out / 'twin.npz'),
        facts=json.loads((args.out / 'run.json').read_text(encoding='utf-8')),
    )
    summary = summarise(robot, args.seed, episodes, run_files)
    write_summary(args.out / 'summary.json', summary)
    write_strip(args.out / 'strip.png', episodes)
    write_video(args.out / 'demo.mp4', episodes)
    print(table(episodes, summary))
    print(f'results are in {args.out}/')
    if not summary['successes']:
        print(
            f'xvla: no episode reached its block; {args.out}/log holds what every process said, '
            '`xvla doctor` looks at this machine',
            file=sys.stderr,
        )


@contextmanager
def _system(
    args: Namespace, path: Path, embodiment: Embodiment, overrides: dict[str, object]
) -> Iterator[Runner]:
    """Start everything; end everything on the way out, however that comes."""
    from xvla_ros.nodes.policy_record import RECORD_VARIABLE

    for name in RECORDS:
        (args.out / name).unlink(missing_ok=True)
    domain = None if 'ROS_DOMAIN_ID' in os.environ else Domain()
    os.environ.update({**(domain.environment() if domain else {}), **transport_environment()})
    with Runner(args.out / 'log', {RECORD_VARIABLE: str(args.out.resolve() / 'run')}) as runner:
        rate = str(embodiment.control.rate_hz)
        twin = [sys.executable, '-m', 'xvla_ros.tools.twin', '--rate', rate]
        runner.run('twin', [*twin, '--out', str(args.out / 'twin.npz')])
        for process in processes(path, sim=True, overrides=overrides):
            runner.start(process)
        if args.record:
            record = [sys.executable, '-m', 'xvla_ros.tools.cli', 'record']
            record += ['--embodiment', str(path), '--out', str(args.record)]
            record += ['--checkpoint', args.checkpoint] if args.checkpoint else []
            runner.run('record', record)
        yield runner


def _episodes(
    args: Namespace, embodiment: Embodiment, look_after: Callable[[], None]
) -> list[Episode]:
    """Run all episodes with a live line."""
    from xvla_ros.tools.demo_client import DemoClient

    client = DemoClient(look_after)
    try:
        _wait_for_policy(client)
        episodes: list[Episode] = []
        with tqdm(range(args.episodes), desc=embodiment.robot, unit='episode') as bar:
            for number in bar:
                episodes.append(_episode(args, embodiment, client, number, bar))
        return episodes
    finally:
        client.close()


def _wait_for_policy(client: 'DemoClient') -> None:  # noqa: F821
    """Wait until the policy is active and sees the arms; a refused start ends the demo at once."""
    from xvla_ros.msg import PolicyStatus

    def ready() -> bool:
        status = client.status
        if status and status.state == PolicyStatus.STATE_FAULT:
            raise XvlaError(f'policy_node: {status.message}')
        return bool(status and status.ticks and client.scene)

    client.wait(ready, START_TIMEOUT_S, 'the policy and the simulation to start')


def _episode(
    args: Namespace,
    embodiment: Embodiment,
    client: 'DemoClient',  # noqa: F821
    number: int,
    bar: 'tqdm[int]',
) -> Episode:
    """Run one episode until success, its time limit or a fault."""
    scene = sample_scene(embodiment, EVALUATE, args.seed, number)
    episode = Episode(number=number, instruction=scene.instruction)
    client.begin_scene(args.seed, number)
    judge, begun_s = ReachJudge(), client.scene.stamp_s
    handle = client.send_task(scene.instruction, args.time_limit)
    ended = handle.get_result_async()
    frame = None
    while not (episode.succeeded or ended.done()):
        client.spin()
        view = client.scene
        progress = judge.look(
            view.stamp_s,
            view.positions[f'tool/{scene.arm}'],
            view.positions[f'block/{scene.colour}'],
        )
        episode.succeeded, episode.best_m = progress.succeeded, progress.best_m
        episode.seconds = view.stamp_s - begun_s
        bar.set_postfix_str(
            f'{scene.colour}: {progress.distance_m * 100:4.1f} cm off', refresh=False
        )
        if client.frame is not None and client.frame is not frame:
            frame = client.frame
            episode.frames.append(frame)
    result = client.end_task(handle)
    episode.chunks = result.chunks
    episode.outcome = {1: 'timed out', 2: 'canceled', 3: 'fault'}.get(result.outcome, 'ended')
    return episode
