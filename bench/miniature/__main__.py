# SPDX-License-Identifier: Apache-2.0
"""
The paper in miniature: adapt a policy of two robots to a third, in four ways with equal steps.

    make miniature [ARGS="--toy --out out/miniature-toy"]

Writes OUT/result.json and OUT/miniature.png (docs/miniature.md). A run that was stopped goes on.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
import json
from pathlib import Path
import sys
from typing import Any

import torch

from bench.miniature.adapting import Adapting, RESULT, write
from bench.miniature.figure import draw
from bench.miniature.pretraining import new_robot, pretrain
from bench.miniature.size import Place, Size, TOY
from bench.miniature.ways import pretrained, prompts, row_errors, WAYS
from xvla_ros.adapt.demo.demo_policy import demo_embodiments
from xvla_ros.adapt.demo.small_network import NUM_DOMAINS
from xvla_ros.adapt.rows import trained_rows
from xvla_ros.adapt.trainer.arithmetic import DTYPES, training_dtype
from xvla_ros.bringup import embodiment_file
from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.model.xvla import XVLA

NEW = 'widowx'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; return 2 where it cannot be run."""
    parser = ArgumentParser(prog='python -m bench.miniature', description=__doc__)
    parser.add_argument('--toy', action='store_true', help='a size that shows nothing, in seconds')
    parser.add_argument('--out', type=Path, default=Path('out/miniature'))
    parser.add_argument('--samples', type=Path, default=Path('/dev/shm/xvla_miniature'))
    parser.add_argument(
        '--new',
        default=NEW,
        help='simulated robot to adapt to; the other ones of the demo are known',
    )
    parser.add_argument(
        '--pretrained', help='checkpoint of the known robots, instead of pre-training one'
    )
    parser.add_argument('--dtype', choices=('auto', *DTYPES), default='auto')
    for field in fields(Size):
        parser.add_argument(f'--{field.name.replace("_", "-")}', type=int)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    counts = {f.name: v for f in fields(Size) if (v := getattr(args, f.name)) is not None}
    size = replace(TOY if args.toy else Size(), **counts)
    try:
        given = checkpoint_folder(args.pretrained) if args.pretrained else None
        dtype = training_dtype(args.dtype)
        place = Place(out=args.out, samples=args.samples, given=given, dtype=dtype)
        result = run(size, place, args.new)
    except XvlaError as error:
        print(error, file=sys.stderr)
        return 2
    for line in table(result):
        print(line)
    print(f'{args.out / RESULT}, {args.out / "miniature.png"}')
    return 0


def run(size: Size, place: Place, new: str = NEW) -> dict[str, Any]:
    """Pre-train, adapt in each way, and write result and figure; return the result."""
    known, robot = robots(new)
    pretrain(known, size, place)
    check_unseen(pretrained(place), robot)
    data = new_robot(robot, size, place)
    errors = row_errors(data, size, place)
    nearest = min(errors, key=errors.__getitem__)
    names = {e.policy.domain_id: e.robot for e in known}
    table = prompts(pretrained(place)).detach()
    result = {
        'robot': robot.robot,
        'nearest': names[nearest],
        'row_errors_mm': {names[row]: round(error, 1) for row, error in errors.items()},
        'pretrained': place.given.name if place.given else '',
        'size': asdict(size),
        'prompts': {name: table[row].tolist() for row, name in names.items()},
        'ways': {way: Adapting(way, data, size, place, nearest).run()['looks'] for way in WAYS},
    }
    write(place.out / RESULT, result)
    draw(place.out / 'miniature.png', json.loads((place.out / RESULT).read_text()))
    return result


def robots(new: str) -> tuple[list[Embodiment], Embodiment]:
    """
    Return the known robots, and the new one with a row that none of them has.

    :raises ConfigError: there is no such robot, or it has no simulation.
    """
    known = [e for e in demo_embodiments() if e.robot != new]
    robot = load_embodiment(embodiment_file(new, sim=True))
    used = {e.policy.domain_id for e in known}
    row = next(row for row in range(NUM_DOMAINS) if row not in used)
    return known, replace(robot, policy=replace(robot.policy, domain_id=row))


def check_unseen(network: XVLA, robot: Embodiment) -> None:
    """
    Check that a pre-trained network has not been trained on the new robot.

    :raises ConfigError: it has, as its row shows.
    """
    rows = trained_rows(network)
    if robot.policy.domain_id in rows:
        raise ConfigError(
            f'--pretrained: rows {rows} are trained, so {robot.robot} (row '
            f'{robot.policy.domain_id}) is not new; choose another --new'
        )


def table(result: dict[str, Any]) -> list[str]:
    """Return a line per way about its last look."""
    lines = [f'before any training: {result["row_errors_mm"]} mm; nearest: {result["nearest"]}']
    for way, looks in result['ways'].items():
        last = looks[-1]
        low, high = last['interval']
        lines.append(
            f'{way:9} {last["step"]:5} steps  {last["error_mm"]:6.1f} mm  reached '
            f'{last["reached"]} of {last["trials"]} ({low:.0%} to {high:.0%}), '
            f'wrong block {last["wrong"]}'
        )
    return lines


if __name__ == '__main__':
    sys.exit(main())
