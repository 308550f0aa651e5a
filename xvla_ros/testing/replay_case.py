# SPDX-License-Identifier: Apache-2.0
"""One regression test: a bag, the robot it is from, and what must come out of it."""

from dataclasses import dataclass, field, fields
from pathlib import Path
import shutil

import yaml

from xvla_ros.bringup import embodiment_file
from xvla_ros.core.errors import ConfigError
from xvla_ros.replay.comparison import compare_targets, TOLERANCE
from xvla_ros.replay.options import Options
from xvla_ros.replay.results import TARGETS
from xvla_ros.replay.run import replay_deterministic, Replayed
from xvla_ros.tools.transforms import recorded_transforms


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayCase:
    """
    A bag and what it is held against. Everything but the bag may be left out.

    golden: targets.csv that must come out, within tolerance. embodiment, checkpoint, instruction:
    instead of the recorded ones. model: False replays the recorded chunks. overrides: dotted
    parameters. max_rejected, max_starved: most chunks and ticks. max_open_loop_mm: by horizon
    ('0.5 s'), how far plans may be from the robot on average.
    """

    bag: Path
    name: str = ''
    golden: Path | None = None
    tolerance: float = TOLERANCE
    embodiment: str = ''
    checkpoint: Path | None = None
    instruction: str = ''
    latency_ms: float = 100.0
    model: bool = True
    overrides: dict[str, object] = field(default_factory=dict)
    max_rejected: int | None = None
    max_starved: int | None = None
    max_open_loop_mm: dict[str, float] = field(default_factory=dict)

    def options(self) -> Options:
        """Return how to replay the bag."""
        return Options(
            embodiment=embodiment_file(self.embodiment, sim=False) if self.embodiment else None,
            overrides=self.overrides,
            checkpoint=self.checkpoint,
            instruction=self.instruction,
            latency_s=self.latency_ms / 1e3,
            model=self.model,
            transforms=recorded_transforms(),
        )


def check_replay(case: ReplayCase, out: Path, update_golden: bool = False) -> Replayed:
    """
    Replay a case into `out` and compare.

    :param update_golden: take what comes out as the golden file from now on.
    :raises AssertionError: with one line per way in which it differs.
    :raises XvlaError: the bag, the robot or the checkpoint cannot be used.
    """
    replayed = replay_deterministic(Path(case.bag), out, case.options())
    if case.golden and update_golden:
        Path(case.golden).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / TARGETS, case.golden)
    wrong = [*_against_golden(case, out), *_against_limits(case, replayed)]
    if wrong:
        raise AssertionError('\n'.join([f'{case.bag}:', *wrong, f'results are in {out}']))
    return replayed


def _against_golden(case: ReplayCase, out: Path) -> list[str]:
    if not case.golden:
        return []
    if not Path(case.golden).is_file():
        return [f'{case.golden}: no such file; --update-golden writes it']
    return compare_targets(out / TARGETS, Path(case.golden), case.tolerance)


def _against_limits(case: ReplayCase, replayed: Replayed) -> list[str]:
    counts, errors = replayed.summary['counts'], replayed.summary['open_loop_error']
    wrong = [
        f'{counts[name]} {name.replace("_", " ")}, at most {most} expected'
        for name, most in (
            ('rejected_chunks', case.max_rejected),
            ('starved_ticks', case.max_starved),
        )
        if most is not None and counts[name] > most
    ]
    for horizon, most_mm in case.max_open_loop_mm.items():
        found = errors.get(horizon, {}).get('position_mm_mean', float('inf'))
        if not found <= most_mm:
            wrong.append(f'plans are {found} mm off after {horizon}, at most {most_mm} expected')
    return wrong


def read_cases(path: Path) -> list[ReplayCase]:
    """
    Read cases from a YAML list; files are relative to it.

    :raises ConfigError: naming the entry and what is wrong with it.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f'{path}: cannot read the cases: {error}') from error
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path}: expected a list of cases, each with at least `bag:`')
    return [_case(path, index, entry) for index, entry in enumerate(entries)]


def _case(path: Path, index: int, entry: object) -> ReplayCase:
    known = {each.name for each in fields(ReplayCase)}
    if not isinstance(entry, dict) or 'bag' not in entry:
        raise ConfigError(f'{path}: case {index}: expected a block with `bag:`, got {entry!r}')
    if unknown := sorted(set(entry) - known):
        raise ConfigError(f'{path}: case {index}: unknown {unknown}; known: {sorted(known)}')
    values = dict(entry)
    for name in ('bag', 'golden', 'checkpoint'):
        if values.get(name):
            values[name] = path.parent / values[name]
    if str(values.get('embodiment', '')).endswith(('.yaml', '.yml')):
        values['embodiment'] = str(path.parent / values['embodiment'])
    values.setdefault('name', Path(values['bag']).name)
    return ReplayCase(**values)
