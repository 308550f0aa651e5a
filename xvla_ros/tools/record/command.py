# SPDX-License-Identifier: Apache-2.0
"""
Record a robot and its policy into a bag.

The bag has cameras (raw images as JPEG), arm state, instruction, chunks, targets and status. Its
first message holds the embodiment file and the checkpoint's fingerprint. Ctrl-C ends the recording
and prints a table of the topics. A killed recorder loses half a second, at most 1 MB, and the
index. With --max-bytes the newest data are kept.

With --episodes every episode is a separate bag. The services /xvla_record/start, stop and discard
(std_srvs/Trigger) control them; the parameter `prompt` is the instruction of the next one.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from datetime import datetime
import os
from pathlib import Path
import signal
import sys
import time
from typing import TYPE_CHECKING

from xvla_ros.bringup import embodiment_file, transport_environment
from xvla_ros.core.checkpoints import checkpoint_folder, checkpoint_overrides
from xvla_ros.core.embodiment import Embodiment, load_embodiment, uses_sim_time
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.tools.arguments import byte_count, pattern
from xvla_ros.tools.needs import need_ros
from xvla_ros.tools.record.recording_line import RecordingLine
from xvla_ros.tools.replay import override

if TYPE_CHECKING:
    from rclpy.executors import SingleThreadedExecutor

    from xvla_ros.bags.manifest import Recording
    from xvla_ros.bags.topics import Stream
    from xvla_ros.nodes.bags.recorder import Recorder, Wanted

# Lower priority than the processes that move the robot.
NICE = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--embodiment', required=True, help='robot, or a parameter file')
    parser.add_argument('--out', type=Path, help='folder of the bag (default: bag_<time>)')
    parser.add_argument('--checkpoint', help="instead of the embodiment's")
    parser.add_argument('--instruction', default='', help='instruction to store in the bag')
    parser.add_argument(
        '--set', type=override, action='append', default=[], metavar='NAME=VALUE',
        help='replace a parameter of the embodiment, also in the bag',
    )  # fmt: skip
    parser.add_argument(
        '--max-bytes', type=byte_count, default=0, help='keep the newest bytes, e.g. 20G'
    )
    parser.add_argument('--split-bytes', type=byte_count, default=2**30, help='size of one file')
    parser.add_argument('--split-s', type=float, default=0.0, help='length of one file [s]')
    parser.add_argument(
        '--images', '--pictures', choices=('jpeg', 'png', 'raw'), default='jpeg',
        help='format for raw images: JPEG of quality 95, PNG (lossless), or unchanged',
    )  # fmt: skip
    parser.add_argument(
        '--topic', action='append', default=[], metavar='NAME:TYPE', help='also record this topic'
    )
    parser.add_argument(
        '--include', type=pattern, action='append', default=[], metavar='REGEX',
        help="also record topics whose whole names match, e.g. '/imu/.*'; '.*' is everything",
    )  # fmt: skip
    parser.add_argument(
        '--exclude', type=pattern, action='append', default=[], metavar='REGEX',
        help='leave out topics whose whole names match, also those of the robot',
    )  # fmt: skip
    parser.add_argument('--episodes', action='store_true', help='one bag per episode, by services')
    parser.add_argument('--duration', type=float, help='end after this long [s]')


def run(args: Namespace) -> int:
    """Record until a signal; return 0 if the bag is complete, 1 if it is empty."""
    need_ros('xvla record')
    os.nice(NICE)
    os.environ.update(transport_environment())
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from xvla_ros.bags.writer import check_empty
    from xvla_ros.nodes.bags.recorder import Recorder

    wanted, recording, embodiment, path = _settings(args)
    out = args.out or Path(f'bag_{datetime.now():%Y-%m-%d_%H-%M-%S}')
    if not args.episodes:
        check_empty(out)
    ended = _ended_by_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    begun = time.monotonic()
    recorder = None
    try:
        recorder = Recorder(wanted, uses_sim_time(path))
        record = _record_episodes if args.episodes else _record_one
        return record(
            recorder,
            out,
            recording,
            embodiment,
            lambda: bool(ended) or (args.duration or 1e12) < time.monotonic() - begun,
        )
    finally:
        if recorder is not None:
            recorder.close()
            recorder.destroy_node()
        rclpy.try_shutdown()


def _settings(args: Namespace) -> 'tuple[Wanted, Recording, Embodiment, Path]':
    """Return what to record and the description of the recording."""
    from xvla_ros.bags.manifest import describe_recording
    from xvla_ros.bags.topics import recorded_streams
    from xvla_ros.bags.writer import Bounds
    from xvla_ros.nodes.bags.recorder import Wanted

    path = embodiment_file(args.embodiment, sim=False)
    overrides = {**dict(args.set), **checkpoint_overrides(args.checkpoint)}
    embodiment = load_embodiment(path, overrides)
    wanted = Wanted(
        streams=(*recorded_streams(embodiment), *map(_extra, args.topic)),
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        images=args.images,
        bounds=Bounds(
            max_bytes=args.max_bytes, split_bytes=args.split_bytes, split_s=args.split_s
        ),
    )
    policy = embodiment.policy
    recording = describe_recording(
        path,
        checkpoint_folder(policy.checkpoint) if policy.checkpoint else None,
        args.instruction or policy.instruction,
        checkpoint_folder(policy.adapter) if policy.adapter else None,
        dict(args.set),
    )
    return wanted, recording, embodiment, path


def _record_one(
    recorder: 'Recorder',
    out: Path,
    recording: 'Recording',
    embodiment: Embodiment,
    ended: Callable[[], bool],
) -> int:
    """Record one bag."""
    executor = _executor(recorder)
    while not (recorder.now_ns() or ended()):
        executor.spin_once(timeout_sec=0.1)
    recorder.open(out, recording)
    recorder.audit.expected_hz = _expected(recorder, embodiment)
    show = RecordingLine()
    _spin(recorder, executor, ended, show)
    writer = recorder.close()
    assert writer is not None  # opened above
    show.end()
    print('\n'.join(recorder.audit.lines()))
    print(f'{writer.messages} messages, {writer.total_bytes / 1e6:.1f} MB in {out}/')
    if writer.messages <= 1:  # only the description of the recording
        doctor = f'xvla doctor --embodiment {embodiment.robot} --live'
        print(f'no message was received; see {doctor}', file=sys.stderr)
        return 1
    return 0


def _record_episodes(
    recorder: 'Recorder',
    out: Path,
    recording: 'Recording',
    embodiment: Embodiment,
    ended: Callable[[], bool],
) -> int:
    """Serve until a signal; then complete the current episode."""
    from xvla_ros.nodes.bags.episodes import Episodes

    Episodes(recorder, out, recording)
    print(f'ready: ros2 service call /xvla_record/start std_srvs/srv/Trigger; bags go to {out}/')
    _spin(recorder, _executor(recorder), ended, RecordingLine())
    recorder.close()
    print(f'{len(list(out.glob("episode_*")))} episodes in {out}/')
    return 0


def _executor(recorder: 'Recorder') -> 'SingleThreadedExecutor':
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    return executor


def _spin(
    recorder: 'Recorder',
    executor: 'SingleThreadedExecutor',
    ended: Callable[[], bool],
    show: RecordingLine,
) -> None:
    """
    Serve the recorder until `ended`.

    :raises XvlaError: the disk is full or broken.
    """
    while not ended():
        executor.spin_once(timeout_sec=0.1)
        show(recorder.writer)
        if recorder.trouble:
            raise XvlaError(recorder.trouble)


def _expected(recorder: 'Recorder', embodiment: Embodiment) -> dict[str, float]:
    """Return the expected rates in the robot's file [Hz], by the names in the bag."""
    rates = {}
    for camera in embodiment.cameras.values():
        name = recorder.resolve_topic_name(camera.topic)
        rates[name] = rates[f'{name}/compressed'] = camera.rate_hz
    return rates


def _ended_by_signals() -> list[int]:
    """Return a list to which a signal adds its number."""
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.append(1))
    return ended


def _extra(text: str) -> 'Stream':
    from xvla_ros.bags.topics import Stream

    topic, _, kind = text.partition(':')
    if not kind:
        raise ConfigError(f"--topic '{text}': expected NAME:TYPE, as /imu:sensor_msgs/msg/Imu")
    return Stream(topic=topic, kind=kind, role='--topic')
