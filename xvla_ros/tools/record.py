# SPDX-License-Identifier: Apache-2.0
"""
Record a robot and its policy into a bag that can be replayed and reported on.

Cameras, arm state, instruction, chunks, targets and status, with the embodiment file and the
checkpoint's fingerprint as the first message. Ctrl-C ends it; a recorder that is killed loses
nothing but the index. The newest data are kept when --max-bytes is reached.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import datetime
import os
from pathlib import Path
import signal
import sys
import time

from xvla_ros.bringup import embodiment_file, transport_environment
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30}
SHOW_PERIOD_S = 0.5
# The recorder yields to those who move the robot.
NICE = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--embodiment', required=True, help='robot, or a parameter file')
    parser.add_argument('--out', type=Path, help='folder of the bag (default: bag_<time>)')
    parser.add_argument('--checkpoint', help='another checkpoint than the embodiment names')
    parser.add_argument('--instruction', default='', help='what the robot is told, for the record')
    parser.add_argument(
        '--max-bytes', type=byte_count, default=0, help='keep the newest so much, e.g. 20G'
    )
    parser.add_argument('--split-bytes', type=byte_count, default=2**30, help='size of one file')
    parser.add_argument('--split-s', type=float, default=0.0, help='length of one file [s]')
    parser.add_argument(
        '--topic', action='append', default=[], metavar='NAME:TYPE', help='record this one too'
    )
    parser.add_argument('--duration', type=float, help='end after this long [s]')


def byte_count(text: str) -> int:
    """Return how many bytes '800M' or '20G' are."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, '')
    try:
        return round(float(number) * UNITS[unit])
    except (KeyError, ValueError) as error:
        raise ArgumentTypeError(f"'{text}' is no size: use 500000, 800M or 20G") from error


def run(args: Namespace) -> int:
    """Record until a signal; 0 when the bag is complete, 1 when nobody said anything."""
    os.nice(NICE)
    os.environ.update(transport_environment())
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from xvla_ros.nodes.record import record
    from xvla_ros.replay.recording import describe_recording
    from xvla_ros.replay.topics import recorded_streams
    from xvla_ros.replay.writer import BagWriter, Bounds

    bounds = Bounds(max_bytes=args.max_bytes, split_bytes=args.split_bytes, split_s=args.split_s)
    path = embodiment_file(args.embodiment, sim=False)
    overrides = {'policy.checkpoint': args.checkpoint} if args.checkpoint else {}
    embodiment = load_embodiment(path, overrides)
    streams = (*recorded_streams(embodiment), *map(_extra, args.topic))
    out = args.out or Path(f'bag_{datetime.now():%Y-%m-%d_%H-%M-%S}')
    ended = _ended_by_signals()
    checkpoint = embodiment.policy.checkpoint
    recording = describe_recording(
        path,
        shared_file('resource', Path(checkpoint)) if checkpoint else None,
        args.instruction or embodiment.policy.instruction,
    )
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    begun = time.monotonic()
    show = _Line(begun)
    try:
        writer = record(
            streams,
            recording,
            lambda channels: BagWriter(out, channels, bounds),
            lambda: bool(ended) or (args.duration or 1e12) < time.monotonic() - begun,
            show,
        )
    finally:
        rclpy.try_shutdown()
    show.end()
    print(f'{writer.messages} messages, {writer.bytes / 1e6:.1f} MB in {out}/')
    if writer.messages <= 1:  # the description of the recording itself
        doctor = f'xvla doctor --embodiment {args.embodiment} --live'
        print(f'nothing was heard; see {doctor}', file=sys.stderr)
        return 1
    return 0


def _ended_by_signals() -> list[int]:
    """Return a list that a signal to end fills."""
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.append(1))
    return ended


def _extra(text: str) -> 'Stream':  # noqa: F821
    from xvla_ros.replay.topics import Stream

    topic, _, kind = text.partition(':')
    if not kind:
        raise ConfigError(f"--topic '{text}': expected NAME:TYPE, as /imu:sensor_msgs/msg/Imu")
    return Stream(topic=topic, kind=kind, role=topic, sensor=True)


class _Line:
    """The line that shows how far a recording is; on a terminal only."""

    def __init__(self, begun_s: float) -> None:
        self._begun_s, self._shown_s = begun_s, 0.0

    def __call__(self, writer: 'BagWriter') -> None:  # noqa: F821
        now_s = time.monotonic()
        if now_s - self._shown_s < SHOW_PERIOD_S or not sys.stderr.isatty():
            return
        self._shown_s = now_s
        print(
            f'\r{now_s - self._begun_s:6.0f} s  {writer.messages} messages  '
            f'{writer.bytes / 1e6:.1f} MB ',
            end='',
            file=sys.stderr,
        )

    def end(self) -> None:
        """Leave the line."""
        if self._shown_s:
            print(file=sys.stderr)
