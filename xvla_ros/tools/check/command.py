# SPDX-License-Identifier: Apache-2.0
"""
Check demonstrations before training.

Checks times, gaps, numbers, jumps, still frames, units, rotations, grippers, instructions and
images; with a robot also workspace, kinematics and anchors. For a bag it includes the findings of
`xvla doctor BAG`. Each finding names file, episode and frame.

    xvla check recordings/                                    # bags of xvla record
    xvla check mine.yaml --embodiment franka --page check.html

Exit code 0: no problem; 1: a problem; 2: nothing to check.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.tools.arguments import count
from xvla_ros.tools.printing import print_finding
from xvla_ros.tools.sources import add_description, asked_of, context_of, named_robot

if TYPE_CHECKING:
    from xvla_ros.data.source import Source

# Most printed findings of one name; --json has all.
MOST_PRINTED = 5


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('data', help='a source file (docs/data.md), a bag, a folder of bags')
    add_description(parser)
    parser.add_argument('--embodiment', help='robot or parameter file (default: the recorded one)')
    parser.add_argument('--checkpoint', type=Path, help='its tokenizer counts the tokens')
    parser.add_argument(
        '--images', '--pictures', type=count, default=5,
        help='images of each camera and episode to decode',
    )  # fmt: skip
    parser.add_argument('--json', action='store_true', help='print everything as JSON instead')
    parser.add_argument('--page', type=Path, metavar='FILE', help='also write an HTML page')


def run(args: Namespace) -> int:
    """Print every finding; return 1 if there is a problem."""
    from xvla_ros.data.opening import open_source
    from xvla_ros.tools.check.sample import Sample

    source = open_source(args.data, args.description)
    embodiment = named_robot(args.embodiment, source)
    sample, found = Sample(), list[Finding]()
    say = _Printer(args.json)
    for finding in findings(args, source, embodiment, sample):
        found.append(finding)
        say(finding)
    counts = {f'{level}s': sum(f.level == level for f in found) for level in (PROBLEM, WARNING)}
    say.end(args.data, counts, found)
    if args.page is not None:
        from xvla_ros.tools.check.page import page

        args.page.parent.mkdir(parents=True, exist_ok=True)
        text = page(f'{args.data}', found, sample.episodes, source)
        args.page.write_text(text, encoding='utf-8')
    return 1 if counts[f'{PROBLEM}s'] else 0


def findings(
    args: Namespace, source: 'Source', embodiment: Embodiment | None, sample: Any
) -> Iterator[Finding]:
    """Yield the findings for a whole source; keep some episodes to show."""
    from xvla_ros.data.checks.engine import check_all
    from xvla_ros.data.opening import read_all

    asked = asked_of(source, embodiment, tokens=tokens_of(args.checkpoint), images=args.images)
    yield from bag_findings(source, embodiment)
    yield from check_all(sample.keep(read_all(source, context_of(args, embodiment))), asked)


def tokens_of(checkpoint: Path | None) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of an instruction; None without a checkpoint."""
    if checkpoint is None:
        return None
    from xvla_ros.core.checkpoints import checkpoint_folder
    from xvla_ros.model.loading import read_processors
    from xvla_ros.model.reading import read_config

    folder = checkpoint_folder(checkpoint)
    _, text = read_processors(folder, read_config(folder))
    return text.count


def bag_findings(source: 'Source', embodiment: Embodiment | None) -> Iterator[Finding]:
    """Yield the doctor's findings for each bag of a source."""
    from xvla_ros.data.opening import source_paths
    from xvla_ros.data.source import ROSBAG

    if source.format != ROSBAG:
        return
    from xvla_ros.tools.doctor.whole_bag import whole_bag_findings

    paths = source_paths(source)
    for path in paths:
        for finding in whole_bag_findings(path, embodiment):
            yield replace(finding, file=str(path)) if len(paths) > 1 else finding


class _Printer:
    """Prints findings as they are made, the first few of each name; or all as JSON at the end."""

    def __init__(self, as_json: bool) -> None:
        self._json, self._counts = as_json, dict[tuple[str, str], int]()

    def __call__(self, finding: Finding) -> None:
        key = finding.level, finding.name
        self._counts[key] = self._counts.get(key, 0) + 1
        most = 1 if finding.level == OK else MOST_PRINTED  # print a good result once for all bags
        if not self._json and self._counts[key] <= most:
            print_finding(finding)

    def end(self, data: str, counts: dict[str, int], found: list[Finding]) -> None:
        """Print the numbers of omitted findings, and the counts."""
        if self._json:
            print(json.dumps({'data': data, **counts, 'findings': [asdict(f) for f in found]},
                             indent=2))  # fmt: skip
            return
        for (level, name), number in self._counts.items():
            if level != OK and number > MOST_PRINTED:
                print(f'         and {number - MOST_PRINTED} more of {name} (--json lists all)')
        print(', '.join(f'{name}: {number}' for name, number in counts.items()))
