# SPDX-License-Identifier: Apache-2.0
"""
Feed every target broken input; a crash is shown with the smallest input that makes it.

    make fuzz [ARGS="--count 100000 --only bag --first 0"]

Inputs are numbered: input 17 of a target is the same in every run. hypothesis draws messages.
"""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from functools import partial
import json
from pathlib import Path
import sys
import tempfile
import time
import traceback

from hypothesis import given, HealthCheck, seed, settings
import psutil

from bench.fuzz.mutations import smallest
from bench.fuzz.targets import refused, Target, targets

MIB = 2**20


# hypothesis remembers every example of a run: runs of this many keep its memory flat.
PORTION = 1000


def fuzz(target: Target, count: int, *, start: int = 0) -> Counter[bool]:
    """
    Feed a target what hypothesis draws; return how many inputs were read (False), refused (True).

    :param start: where its chance starts; the same inputs come again for the same start.
    :raises Exception: an input raised an exception that is not an error of this package.
    """
    counts: Counter[bool] = Counter()

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def feed(value: object) -> None:
        counts[refused(target.read, value)] += 1

    feed()
    return counts


def feed(target: Target, first: int, count: int) -> Counter[bool]:
    """
    Feed a target inputs by number; return how many were read (False) and refused (True).

    :raises Exception: an input raised an exception that is not an error of this package. The
        smallest such input is printed.
    """
    counts: Counter[bool] = Counter()
    if not target.make:
        for start in range(first, first + count, PORTION):
            counts += fuzz(target, min(PORTION, first + count - start), start=start)
        return counts
    for number in range(first, first + count):
        try:
            counts[refused(target.read, target.make(number))] += 1
        except Exception as error:
            least = smallest(target.make(number), partial(_raises, target, type(error)))
            print(f'{target.name}: input {number} crashes it, as does {least!r}', flush=True)
            raise
    return counts


def _raises(target: Target, kind: type[Exception], data: bytes) -> bool:
    try:
        refused(target.read, data)
    except Exception as error:
        return type(error) is kind
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 0 when nothing crashed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=100_000, help='inputs per target')
    parser.add_argument('--first', type=int, default=0, help='number of the first input')
    parser.add_argument('--only', action='append', help='name of a target; repeatable')
    parser.add_argument('--out', type=Path, default=Path('out/fuzz.json'))
    args = parser.parse_args(arguments)
    results = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            if not args.only or target.name in args.only:
                results[target.name] = _report(target, args.first, args.count)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return int(any(result['crash'] for result in results.values()))


def _report(target: Target, first: int, count: int) -> dict[str, object]:
    memory, begun_s, crash, counts = psutil.Process().memory_info, time.monotonic(), '', Counter()
    before = memory().rss
    try:
        feed(target, first, min(count, 2000))  # warm: caches are filled
        before = memory().rss
        counts = feed(target, first, count)
    except Exception as error:
        crash = ''.join(traceback.format_exception(error))[-2000:]
    grown_mib = (memory().rss - before) / MIB
    print(
        f'{target.name:20} {sum(counts.values())} inputs, {counts[True]} refused, '
        f'{time.monotonic() - begun_s:.0f} s, memory {grown_mib:+.1f} MiB {crash}',
        flush=True,
    )
    return {
        'inputs': sum(counts.values()),
        'refused': counts[True],
        'grown_mib': round(grown_mib, 1),
        'crash': crash,
    }


if __name__ == '__main__':
    sys.exit(main())
