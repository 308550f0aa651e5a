# SPDX-License-Identifier: Apache-2.0
"""
Replay a bag: run the policy on it without ROS, or publish it as live topics.

--deterministic runs bag -> observation -> policy -> queue -> safety gate -> targets on the bag's
own clock and writes targets.csv, verdicts.jsonl, chunks.csv and summary.json into --out, with the
same bytes on every run. Exit code 0: done, and equal to the golden file; 1: different; 2: error.

Without it, the bag's topics are published with their timing, for any nodes. On a terminal space
pauses, s steps and q ends; the services /xvla_replay/pause, resume and step do the same.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from pathlib import Path
import sys
import time
from typing import Any

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.embodiment import parse_override
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import duration
from xvla_ros.tools.needs import need_ros

DIFFERENT = 1
MOST_REASONS = 8


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('bag', type=Path, help='rosbag2 folder, or one .mcap or .db3 file')
    parser.add_argument('--embodiment', help='robot or parameter file (default: the recorded one)')
    parser.add_argument(
        '--set', type=override, action='append', default=[], metavar='NAME=VALUE',
        help='replace a parameter, e.g. cameras.main.topic=/cam/color/compressed',
    )  # fmt: skip
    parser.add_argument(
        '--remap', type=renaming, action='append', default=[], metavar='FROM:=TO',
        help='use a topic of the bag under another name, e.g. /cam0/image:=/camera/main/image_raw',
    )  # fmt: skip
    parser.add_argument('--start', type=duration, default=0.0, help='time to skip [s]')
    parser.add_argument('--duration', type=duration, help='length of the part to replay [s]')
    offline = parser.add_argument_group('deterministic')
    offline.add_argument('--deterministic', action='store_true', help='no ROS, no wall clock')
    offline.add_argument('--out', type=Path, help='folder for the results')
    offline.add_argument('--checkpoint', type=Path, help='instead of the recorded one')
    offline.add_argument('--no-model', action='store_true', help='use the recorded chunks')
    offline.add_argument('--instruction', default='', help='instead of the recorded ones')
    offline.add_argument('--latency-ms', type=duration, default=100.0, help='of each inference')
    offline.add_argument(
        '--schedule', choices=('fixed', 'recorded'), default='fixed',
        help='infer with --latency-ms, or for the observations that were answered live',
    )  # fmt: skip
    offline.add_argument('--golden', type=Path, help='expected targets.csv')
    offline.add_argument('--tolerance', type=float, default=1e-6, help='largest difference')
    live = parser.add_argument_group('live')
    live.add_argument('--rate', type=float, default=1.0, help='speed; 2 is twice as fast')
    live.add_argument('--pause', action='store_true', help='start paused')
    live.add_argument('--loop', action='store_true', help='restart at the end')
    live.add_argument('--clock', action='store_true', help='publish /clock, for use_sim_time')
    live.add_argument(
        '--keep-stamps', action='store_true', help='do not move header stamps to the present'
    )
    live.add_argument('--topics', nargs='+', help="only these (default: the policy's inputs)")
    live.add_argument('--all', action='store_true', help='all topics, also those of the policy')


def override(text: str) -> tuple[str, object]:
    """Return name and value of NAME=VALUE."""
    name, equals, value = text.partition('=')
    if not equals:
        raise ArgumentTypeError(f"'{text}': expected NAME=VALUE, the value as in a YAML file")
    try:
        return name, parse_override(name, value)
    except ConfigError as error:
        raise ArgumentTypeError(f"'{text}': {error}; expected NAME=VALUE") from error


def renaming(text: str) -> tuple[str, str]:
    """Return both names of FROM:=TO."""
    recorded, given, wanted = text.partition(':=')
    if not given or not recorded or not wanted:
        raise ArgumentTypeError(f"'{text}': expected FROM:=TO, names of topics")
    return '/' + recorded.lstrip('/'), '/' + wanted.lstrip('/')


def live_command(bag: str, rate: str, embodiment: str, parameters: Mapping[str, str]) -> list[str]:
    """Return the command that plays a bag with /clock; for launch files."""
    command = ['xvla', 'replay', bag, '--clock', '--keep-stamps', '--rate', rate]
    replaced = [
        part for name, value in parameters.items() for part in ('--set', f'{name}={value}')
    ]
    return [*command, '--embodiment', embodiment, *replaced]


def run(args: Namespace) -> int:
    """Replay in one of the two ways."""
    return _deterministic(args) if args.deterministic else _live(args)


def _deterministic(args: Namespace) -> int:
    from xvla_ros.replay.options import Options
    from xvla_ros.replay.results import TARGETS, worst_refusals
    from xvla_ros.replay.run import replay_deterministic
    from xvla_ros.tools.transforms import recorded_transforms

    if args.out is None:
        raise ConfigError('--deterministic needs --out, a folder for its results')
    options = Options(
        embodiment=_embodiment_file(args),
        overrides=dict(args.set),
        checkpoint=args.checkpoint,
        instruction=args.instruction,
        latency_s=args.latency_ms / 1e3,
        recorded_schedule=args.schedule == 'recorded',
        model=not args.no_model,
        transforms=recorded_transforms(),
        start_s=args.start,
        duration_s=args.duration,
        remap=dict(args.remap),
    )
    begun = time.perf_counter()
    replayed = replay_deterministic(args.bag, args.out, options)
    took_s = time.perf_counter() - begun
    for gap in (*replayed.summary['gaps'], *replayed.bag.notes):
        print(f'xvla: {args.bag}: {gap}', file=sys.stderr)
    print(_text(replayed.summary))
    for line in worst_refusals(args.out)[:MOST_REASONS]:
        print(f'  {line}')
    duration_s = replayed.bag.duration_s
    print(f'{duration_s:.1f} s in {took_s:.1f} s ({duration_s / took_s:.1f} x real time)')
    print(f'results are in {args.out}/')
    return _compare(args, args.out / TARGETS) if args.golden else 0


def _embodiment_file(args: Namespace) -> Path | None:
    return embodiment_file(args.embodiment, sim=False) if args.embodiment else None


def _compare(args: Namespace, targets: Path) -> int:
    from xvla_ros.replay.comparison import compare_targets

    if not args.golden.is_file():
        raise ConfigError(f'{args.golden}: no such golden file')
    differences = compare_targets(targets, args.golden, args.tolerance)
    for difference in differences:
        print(f'differs from {args.golden}: {difference}')
    if not differences:
        print(f'equal to {args.golden}')
    return DIFFERENT if differences else 0


def _text(summary: dict[str, Any]) -> str:
    """Return the figures of a replay as text."""
    counts = summary['counts']
    lines = [
        f'{counts["chunks"]} chunks ({counts["rejected_chunks"]} rejected, '
        f'{counts["dropped_chunks"]} dropped), {counts["ticks"]} ticks '
        f'({counts["starved_ticks"]} starved, {counts["clamped_steps"]} clamped)'
    ]
    faults = sorted(counts['faults'].items(), key=lambda item: -item[1])
    lines += [f'  {count} x {reason}' for reason, count in faults[:MOST_REASONS]]
    if len(faults) > MOST_REASONS:
        lines.append(f'  and {len(faults) - MOST_REASONS} reasons more, in summary.json')
    for horizon, figures in summary['open_loop_error'].items():
        if figures['n']:
            lines.append(
                f'plan against robot after {horizon}: {figures["position_mm_mean"]:.1f} mm '
                f'(p95 {figures["position_mm_p95"]:.1f}), {figures["rotation_deg_mean"]:.1f} deg'
            )
    live = summary['recorded_chunks']
    if live['matched']:
        lines.append(
            f'{live["matched"]} of {live["recorded"]} recorded chunks answer the same '
            f'observations: largest difference {live["largest_difference"]:.3g}'
        )
    return '\n'.join(lines)


def _live(args: Namespace) -> int:
    need_ros('xvla replay without --deterministic')
    from xvla_ros.nodes.bags.player import Live, replay_live

    return replay_live(
        args.bag,
        Live(
            rate=args.rate,
            start_s=args.start,
            duration_s=args.duration,
            loop=args.loop,
            clock=args.clock,
            restamp=not args.keep_stamps,
            paused=args.pause,
            overrides=dict(args.set),
            remap=dict(args.remap),
            topics=tuple(args.topics or ()),
            everything=args.all,
            embodiment=_embodiment_file(args),
        ),
    )
