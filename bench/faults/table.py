# SPDX-License-Identifier: Apache-2.0
"""What a row of the matrix is, what became of it, and the page that shows them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
from typing import Any, TYPE_CHECKING

from xvla_ros.core.reason_codes import MEANING

if TYPE_CHECKING:
    from bench.faults.cell import Cell

# By when a robot must hold after the declared period of the input or watchdog is over [s].
GRACE_S = 0.1
# What a stop at the measured pose may lead back: what an arm lags behind its command [m].
LAG_M = 0.02
# Of the largest step, by what the robot is commanded in.
UNITS = {'poses': 'mm', 'joints': 'mrad'}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """
    One fault.

    name: in words. group: what `--only` chooses. inject: breaks something. codes: reason codes of
    which one must be heard; empty for a fault that must not stop the robot. within_s: the declared
    period after which the robot holds. recover: mends it; None heals the streams. step: by how
    much a stop at the measured pose may lead the last command back [m or rad]. space: what the
    robot is commanded in, a key of `robots.ROBOTS`. again: motion may come back between two
    holds, because the fault comes and goes.
    """

    name: str
    group: str
    inject: Callable[['Cell'], object]
    codes: tuple[str, ...] = ()
    within_s: float = 0.3
    recover: Callable[['Cell'], object] | None = None
    step: float = 0.0
    space: str = 'poses'
    again: bool = False

    @property
    def holds(self) -> bool:
        """Whether the robot must hold."""
        return bool(self.codes)


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What a fault did: states and codes heard, the hold, the commands, the way back."""

    fault: str
    group: str
    state: str = ''
    hold_ms: float | None = None
    largest_step: float = 0.0
    reason: str = ''
    recovered: bool = False
    passed: bool = False
    wrong: list[str] = field(default_factory=list)


def save(path: Path, outcomes: Sequence[Outcome], rows: Sequence[Row]) -> None:
    """Write the outcomes, merged with those of rows that were not run now and still exist."""
    names = {row.name for row in rows}
    known = {row['fault']: row for row in _known(path) if row['fault'] in names}
    for outcome in outcomes:
        row: dict[str, Any] = {
            name: getattr(outcome, name) for name in Outcome.__dataclass_fields__
        }
        known[outcome.fault] = row
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(known.values()), indent=1) + '\n', encoding='utf-8')


def _known(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding='utf-8'))
    return rows


HEAD = """\
# Reliability

<!-- Written by `make faults`. Do not edit: change bench/faults/. -->

`make faults` starts a simulated robot, its controller, a policy node and a server as real
processes, and breaks one thing after the other while the arm moves on a circle: a Franka with
commands of tool poses (0.05 m/s), and an SO-101 with commands of joints (0.2 rad/s). A relay
stands between the simulated robot and the nodes; it alters messages and `/clock`. Processes are
stopped and killed. `make faults ARGS="--only camera"` runs one group, and `out/faults.json` holds
the figures. A run of one group replaces its rows, so the table may be of several runs. Six rows
run in `make test`.

* *within*: the declared period of the input or watchdog (`max_age_s`, `hold_after_s`,
  `worker_timeout_s`, ...). The robot must hold at most 100 ms later.
* *held after*: from the fault to the last command that reached the driver in motion, braking
  included.
* *largest step*: between two commands that reached the driver. The limit is the way of two
  periods at the configured speed (4 mm, 23 mrad); a stop at the measured pose may lead back by
  what the arm lags.
* *back*: whether motion came back when the fault had ended, by itself or after what the fault
  asks for (`~/reset`, `~/arm`, a restart).

"""


def page(rows: Sequence[Row], outcomes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return docs/reliability.md."""
    passed = sum(bool(outcomes[row.name]['passed']) for row in rows if row.name in outcomes)
    ran = sum(row.name in outcomes for row in rows)
    lines = [
        f'{passed} of {ran} rows passed on {len(os.sched_getaffinity(0))} shared cores.',
        '',
        '| fault | state | reason | within | held after | largest step | back | |',
        '|---|---|---|---|---|---|---|---|',
    ]
    lines += [_line(row, outcomes[row.name]) for row in rows if row.name in outcomes]
    codes = [f'| `{code}` | {meaning} |' for code, meaning in MEANING.items()]
    heard = ['', '## Reason codes', '', '`reason_code` of PolicyStatus and ControllerStatus.', '']
    return HEAD + '\n'.join([*lines, *heard, '| code | meaning |', '|---|---|', *codes]) + '\n'


def _line(row: Row, outcome: Mapping[str, Any]) -> str:
    held, step = outcome['hold_ms'], f'{1000 * outcome["largest_step"]:.1f} {UNITS[row.space]}'
    within = f'{1000 * row.within_s:.0f} ms' if row.holds else '-'
    return (
        f'| {row.name} | {outcome["state"]} | {outcome["reason"] or "-"} | {within} '
        f'| {"-" if held is None else f"{held:.0f} ms"} '
        f'| {step} | {"yes" if outcome["recovered"] else "no"} '
        f'| {"passed" if outcome["passed"] else "**" + "; ".join(outcome["wrong"]) + "**"} |'
    )
