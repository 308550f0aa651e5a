# SPDX-License-Identifier: Apache-2.0
"""
Feed every target broken input; a crash is shown with the smallest input that makes it.

    make fuzz [ARGS="--count 100000 --only bag"]
"""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
import json
from pathlib import Path
import sys
import tempfile
import time
import traceback

from hypothesis import given, HealthCheck, settings
import psutil

from bench.fuzz.targets import refused, Target, targets

MIB = 2**20


def fuzz(target: Target, count: int, *, repeatable: bool = False) -> Counter[bool]:
    """
    Feed a target; return how many inputs were read (False) and refused (True).

    :raises Exception: whatever an input raised that is none of our errors.
    """
    counts: Counter[bool] = Counter()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=repeatable,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def feed(value: object) -> None:
        counts[refused(target.read, value)] += 1

    feed()
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; 0 when nothing crashed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=100_000, help='inputs per target')
    parser.add_argument('--only', action='append', help='name of a target; repeatable')
    parser.add_argument('--out', type=Path, default=Path('out/fuzz.json'))
    args = parser.parse_args(arguments)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            if not args.only or target.name in args.only:
                results[target.name] = _report(target, args.count)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return int(any(result['crash'] for result in results.values()))


def _report(target: Target, count: int) -> dict[str, object]:
    memory, begun_s, crash, counts = psutil.Process().memory_info, time.monotonic(), '', Counter()
    fuzz(target, min(count, 500))  # warm: caches are filled
    before = memory().rss
    try:
        counts = fuzz(target, count)
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
