# SPDX-License-Identifier: Apache-2.0
"""
Run benchmarks one after the other, and merge their figures into out/bench.json.

A benchmark is a module of bench/, beside the package, with `run() -> {name: {"ours": x, "unit": u,
"n": n, ...}}`. Figures with other names stay in the file.
"""

from argparse import ArgumentParser, Namespace
from importlib import import_module
import json
import os
from pathlib import Path
import sys
from typing import Any

from xvla_ros.core.errors import ConfigError, XvlaError

CHECKOUT = Path(__file__).resolve().parents[2]
# Name for `--only` -> modules of bench/ to run, in this order.
BENCHMARKS = {
    'adapt': ('adapt',),
    'gate': ('gate',),
    'ik': ('ik',),
    'inference': ('inference', 'inference_bound', 'inference_gpu'),
    'knobs': ('knobs',),
    'realtime': ('realtime', 'realtime_nodes', 'prefix'),
    'replay': ('replay',),
    'serve': ('serve',),
}
# Fields to print first, in this order; the others follow by name.
COLUMNS = ('ours', 'unit', 'n', 'anchor', 'ratio')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--only',
        action='append',
        metavar='NAME',
        help=f'one of {", ".join(available() or BENCHMARKS)}; may be repeated',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('out/bench.json'), help='file for the figures'
    )


def run(args: Namespace) -> int:
    """Run the requested benchmarks, by default all; return 1 if one failed."""
    _find_benchmarks()
    names = args.only or list(available())
    unknown = sorted(set(names) - set(available()))
    if unknown:
        raise ConfigError(f'no benchmark {", ".join(unknown)}; there are {", ".join(available())}')
    modules = [module for name in names for module in BENCHMARKS[name]]
    succeeded = [measure(module, args.out) for module in modules]
    print(f'[bench] figures are in {args.out}')
    return 0 if all(succeeded) else 1


def measure(module: str, out: Path) -> bool:
    """Run one benchmark; return whether it succeeded."""
    print(f'[bench] {module} ...', flush=True)
    try:
        figures = import_module(f'bench.{module}').run()
    except XvlaError as error:
        print(f'[bench] {module} failed: {error}', file=sys.stderr)
        return False
    merge(out, figures)
    for figure, values in figures.items():
        print(f'  {figure:36} {line(values)}')
    return True


def available() -> tuple[str, ...]:
    """Return the benchmarks of this checkout; an installation has none."""
    return tuple(
        name
        for name, modules in BENCHMARKS.items()
        if all((CHECKOUT / 'bench' / f'{module}.py').exists() for module in modules)
    )


def _find_benchmarks() -> None:
    """
    Let this process and its children import bench/.

    :raises ConfigError: this is an installation without bench/.
    """
    if not available():
        raise ConfigError(
            'xvla bench needs a checkout of the sources; this installation has no bench/'
        )
    sys.path.insert(0, str(CHECKOUT))
    places = [str(CHECKOUT), *filter(None, [os.environ.get('PYTHONPATH')])]
    os.environ['PYTHONPATH'] = os.pathsep.join(places)


def merge(path: Path, figures: dict[str, dict[str, Any]]) -> None:
    """Add figures to a file, and keep those of other benchmarks."""
    known = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    merged = dict(sorted({**known, **figures}.items()))
    path.write_text(json.dumps(merged, indent=2) + '\n', encoding='utf-8')


def line(values: dict[str, Any]) -> str:
    """Return one figure as a line with short numbers and without nested rows."""
    names = [*(n for n in COLUMNS if n in values), *(n for n in values if n not in COLUMNS)]
    parts = [
        f'{name} {value:.4g}' if isinstance(value, float) else f'{name} {value}'
        for name in names
        if not isinstance(value := values[name], (dict, list))
    ]
    return '  '.join(parts)
