# SPDX-License-Identifier: Apache-2.0
"""
Make one self-contained HTML page from a bag.

It shows cameras, planned and executed path, every channel with the joints between chunks, gripper,
latency, starvation, clamping and verdicts. With --run it shows the targets of a deterministic
replay of the bag instead of the recorded ones.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.replay import override

if TYPE_CHECKING:  # what draws takes seconds to import
    from xvla_ros.bags.bag import Bag
    from xvla_ros.core.embodiment import Embodiment
    from xvla_ros.replay.report.data import BagReader, ReportData

IMAGES = 8
IMAGE_WIDTH = 240


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('bag', type=Path, help='rosbag2 folder, or one .mcap or .db3 file')
    parser.add_argument('--run', type=Path, help='folder of `xvla replay --deterministic --out`')
    parser.add_argument('--embodiment', help='robot or parameter file (default: the recorded one)')
    parser.add_argument(
        '--set', type=override, action='append', default=[], metavar='NAME=VALUE',
        help='replace a parameter, e.g. cameras.main.topic=/cam/color/compressed',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, help='page to write (default: report.html in the bag)')


def run(args: Namespace) -> int:
    """Write the page."""
    from xvla_ros.replay.report.page import page

    out = args.out or _beside(args.bag)
    file = embodiment_file(args.embodiment, sim=False) if args.embodiment else None
    text = page(collect(args.bag, args.run, file, dict(args.set)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding='utf-8')
    print(f'{out} ({len(text) / 1e6:.1f} MB)')
    return 0


def _beside(bag: Path) -> Path:
    return bag / 'report.html' if bag.is_dir() else bag.with_suffix('.html')


def collect(
    path: Path,
    run_folder: Path | None,
    file: Path | None,
    overrides: dict[str, object] | None = None,
) -> 'ReportData':
    """
    Read the data of the page.

    :raises XvlaError: the bag or the results cannot be read, the robot is unknown, or the bag has
        no topic of it.
    """
    from xvla_ros.bags.bag import open_bag
    from xvla_ros.bags.timeline import clock_offset_ns
    from xvla_ros.bags.topics import as_recorded, match_streams, observation_streams
    from xvla_ros.replay.report.data import BagReader, count_verdicts, ReportData, RunReader
    from xvla_ros.replay.view import measured_arms
    from xvla_ros.tools.transforms import recorded_transforms

    bag = open_bag(path)
    embodiment = as_recorded(_embodiment(bag, path, file, overrides or {}), bag.topics)
    kinds = {name: topic.kind for name, topic in bag.topics.items()}
    names, missing = match_streams(observation_streams(embodiment), kinds, str(path))
    _check_not_empty(bag, names, missing)
    offset_ns = clock_offset_ns(bag, names.values())
    reader = BagReader(bag, embodiment, offset_ns)
    said = reader.chunks()
    verdicts, reasons = count_verdicts(said)
    source = RunReader(run_folder, reader) if run_folder else None
    times, rows = measured_arms(bag, embodiment, offset_ns, recorded_transforms())
    tasks = reader.tasks()
    return ReportData(
        title=f'{path.resolve().name}: {embodiment.robot}',
        facts=_facts(bag, tasks, missing, run_folder),
        embodiment=embodiment,
        duration_s=bag.duration_s,
        tasks=tasks,
        measured=(reader.seconds(times), rows),
        targets=source.targets() if source else reader.targets(),
        plans=source.plans() if source else reader.plans(said),
        status=reader.status(),
        verdicts=source.verdicts if source else verdicts,
        reasons=source.reasons if source else reasons,
        images=_images(bag, embodiment, reader, offset_ns),
    )


def _check_not_empty(bag: 'Bag', names: dict[str, str], missing: list[str]) -> None:
    """
    Check that there is something to show.

    :raises ConfigError: the bag has no topic of the robot or a policy.
    """
    from xvla_ros.bags.topics import CHUNK, recorded_name, STATUS, TARGET

    said = [name for name in (CHUNK, TARGET, STATUS) if recorded_name(name, bag.topics)]
    if not (names or said):
        raise ConfigError(
            f'{bag.path}: nothing to report: {"; ".join(missing)}; the bag has '
            f'{", ".join(sorted(bag.topics))}: give its robot by --embodiment, names by --set'
        )


def _embodiment(
    bag: 'Bag',
    path: Path,
    file: Path | None,
    overrides: dict[str, object],
) -> 'Embodiment':
    """Return the robot of a file, or the one that was recorded."""
    from xvla_ros.core.embodiment import load_embodiment

    if file:
        return load_embodiment(file, overrides)
    if bag.recording is None:
        raise ConfigError(f'{path}: not from `xvla record`: give its robot by --embodiment')
    return bag.recording.load_embodiment(str(path), overrides)


def _images(
    bag: 'Bag',
    embodiment: 'Embodiment',
    reader: 'BagReader',
    offset_ns: int,
) -> dict[str, list[tuple[float, bytes]]]:
    """Return a few JPEG images of each camera with their times [s]."""
    from xvla_ros.replay.view import frames, jpeg

    return {
        name: [
            (reader.seconds(frame.time_ns - offset_ns), jpeg(frame.image, IMAGE_WIDTH))
            for frame in shown
        ]
        for name, shown in frames(bag, embodiment, IMAGES).items()
    }


def _facts(
    bag: 'Bag',
    tasks: list[tuple[float, str]],
    missing: list[str],
    run_folder: Path | None,
) -> list[tuple[str, str]]:
    """Return the rows of the table at the top."""
    recording = bag.recording
    instructions = list(dict.fromkeys(text for _, text in tasks if text))
    facts = [
        ('instruction', '; '.join(instructions) or 'none'),
        ('length', f'{bag.duration_s:.1f} s in {len(bag.files)} file(s)'),
        (
            'topics',
            ', '.join(f'{name} ({t.rate_hz:.1f} Hz)' for name, t in sorted(bag.topics.items())),
        ),
    ]
    if recording and recording.checkpoint:
        facts.append(
            ('checkpoint', f'{recording.checkpoint} (SHA-256 {recording.fingerprint[:16]}…)')
        )
    if run_folder:
        facts.append(('targets from', f'the replay in {run_folder}'))
    facts += [('missing', text) for text in missing]
    facts += [('damaged', text) for text in bag.gaps]
    facts += [('left out', text) for text in bag.notes]
    return facts
