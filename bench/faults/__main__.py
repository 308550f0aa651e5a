# SPDX-License-Identifier: Apache-2.0
"""
Run the fault matrix: every row, or those that `--only` names by group or by words of their name.

    make faults [ARGS="--only camera --only server"]
"""

from argparse import ArgumentParser
from collections.abc import Sequence
import json
from pathlib import Path
import sys

from bench.faults.cell import Cell
from bench.faults.robots import ROBOTS
from bench.faults.rows_inputs import ROWS as INPUTS
from bench.faults.rows_joints import ROWS as JOINTS
from bench.faults.rows_server import ROWS as SERVER
from bench.faults.rows_system import ROWS as SYSTEM
from bench.faults.run import run_row
from bench.faults.table import Outcome, page, Row, save

ROWS: tuple[Row, ...] = (*INPUTS, *SERVER, *SYSTEM, *JOINTS)
PAGE = Path('docs/reliability.md')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rows one after the other, those of a robot in one cell; 0 when all pass."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--only', action='append', help='a group, or words of a name; repeatable')
    parser.add_argument('--out', type=Path, default=Path('out/faults.json'))
    parser.add_argument('--page', type=Path, help='write the table into this Markdown file, too')
    args = parser.parse_args(arguments)
    rows = [row for row in ROWS if chosen(row, args.only)]
    outcomes = []
    for space in ROBOTS:
        outcomes += run(space, [row for row in rows if row.space == space], args.out)
    if args.page:
        known = {row['fault']: row for row in json.loads(args.out.read_text(encoding='utf-8'))}
        args.page.write_text(page(ROWS, known), encoding='utf-8')
    passed = sum(outcome.passed for outcome in outcomes)
    print(f'{passed} of {len(rows)} rows passed; figures are in {args.out}')
    return int(passed < len(rows))


def run(space: str, rows: Sequence[Row], out: Path) -> list[Outcome]:
    """Run the rows of one robot, and say and save what became of each."""
    outcomes: list[Outcome] = []
    if not rows:
        return outcomes
    cell = Cell(out.parent / 'faults' / space, ROBOTS[space])
    try:
        for row in rows:
            outcome = run_row(cell, row)
            outcomes.append(outcome)
            held = '-' if outcome.hold_ms is None else f'{outcome.hold_ms:.0f} ms'
            said = '; '.join(outcome.wrong) or 'passed'
            print(f'{row.group:8} {row.name:42} {outcome.reason:20} {held:>8}  {said}', flush=True)
            save(out, [outcome], ROWS)
    finally:
        cell.close()
    return outcomes


def chosen(row: Row, only: Sequence[str] | None) -> bool:
    """Tell whether a row was asked for."""
    return not only or any(words == row.group or words in row.name for words in only)


if __name__ == '__main__':
    sys.exit(main())
