# SPDX-License-Identifier: Apache-2.0
"""Run one row: wait for motion, break, look, mend, wait for motion."""

from contextlib import suppress
import time

import numpy as np

from bench.faults.cell import Cell
from bench.faults.table import GRACE_S, Outcome, Row
from xvla_ros.msg import ControllerStatus, PolicyStatus

# How long a hold, and motion in spite of a fault, is watched [s].
WATCH_S = 1.0
# How much longer than declared a row waits for a hold and a reason [s].
PATIENCE_S = 8.0
BACK_S = 150.0
QUIET_S = 0.3  # no motion for so long is a hold
POLICY = ('IDLE', 'WAITING', 'DRY_RUN', 'ENGAGING', 'RUNNING', 'HOLDING', 'FAULT')
CONTROLLER = ('WAITING', 'MOVING', 'BRAKING', 'HOLDING', 'STOPPED')


def run_row(cell: Cell, row: Row, *, timed: bool = True) -> Outcome:
    """
    Inject the fault of a row, and see what the system makes of it.

    :param timed: whether the time to hold is judged, too.
    """
    outcome = Outcome(fault=row.name, group=row.group)
    try:
        cell.ready()
        begun_s = time.monotonic()
        told_s = row.inject(cell)
        begun_s = told_s if isinstance(told_s, float) else begun_s
        (_watch_hold if row.holds else _watch_motion)(cell, row, outcome, begun_s, timed=timed)
        outcome.largest_step = _largest_step(cell, begun_s)
        if outcome.largest_step > cell.robot.step + row.step:
            outcome.wrong.append(f'a step of {1000 * outcome.largest_step:.1f} m{cell.robot.unit}')
    except (TimeoutError, RuntimeError) as error:
        outcome.wrong.append(str(error)[:200])
    _recover(cell, row, outcome)
    outcome.passed = not outcome.wrong
    return outcome


def _watch_hold(cell: Cell, row: Row, outcome: Outcome, begun_s: float, *, timed: bool) -> None:
    deadline_s = begun_s + row.within_s + PATIENCE_S
    while time.monotonic() < deadline_s:
        heard = [code for code in cell.codes(begun_s) if code in row.codes]
        quiet = not cell.commands or time.monotonic() - cell.commands[-1][0] > QUIET_S
        if heard and quiet:
            break
        time.sleep(0.005)
    outcome.state = state(cell)
    outcome.reason = heard[0] if heard else ', '.join(dict.fromkeys(cell.codes(begun_s)))
    held_s = cell.commands[-1][0] if cell.commands else begun_s
    outcome.hold_ms = max(0.0, 1000 * (held_s - begun_s))
    if not heard:
        outcome.wrong.append(f'no reason {" or ".join(row.codes)}')
    if not quiet:
        outcome.wrong.append('motion went on')
    elif timed and outcome.hold_ms > 1000 * (row.within_s + GRACE_S):
        outcome.wrong.append(f'held {outcome.hold_ms:.0f} ms after the fault')
    time.sleep(WATCH_S)
    if quiet and not row.again and cell.commands and cell.commands[-1][0] > held_s:
        outcome.wrong.append('moved after the hold')


def _watch_motion(cell: Cell, row: Row, outcome: Outcome, begun_s: float, *, timed: bool) -> None:
    time.sleep(WATCH_S)
    outcome.state = state(cell)
    outcome.reason = ', '.join(dict.fromkeys(cell.codes(begun_s)))
    if not cell.moving(0.5):
        outcome.wrong.append('motion ended')


def state(cell: Cell) -> str:
    """Return the last states of policy and controller in words."""
    policy = cell.policies[-1][1].state if cell.policies else PolicyStatus.STATE_IDLE
    controller = (
        cell.controllers[-1][1].state if cell.controllers else ControllerStatus.STATE_WAITING
    )
    return f'{POLICY[policy].lower()}, {CONTROLLER[controller].lower()}'


def _largest_step(cell: Cell, begun_s: float) -> float:
    """Return the largest distance between two commands since just before the fault [m or rad]."""
    places = [place for when, place in tuple(cell.commands) if when > begun_s - 0.5]
    if len(places) < 2:
        return 0.0
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).max())


def _recover(cell: Cell, row: Row, outcome: Outcome) -> None:
    cell.heal()
    try:
        if row.recover:
            row.recover(cell)
        cell.ready(BACK_S)
        outcome.recovered = True
    except TimeoutError as error:
        outcome.wrong.append(f'did not come back: {str(error)[:300]}')
        _force(cell)


def _force(cell: Cell) -> None:
    """Bring the cell back for the next row, whatever it takes."""
    with suppress(TimeoutError, ProcessLookupError):
        cell.clear()
        cell.restart('policy_node')
        cell.go_home()
        cell.reset()
        cell.arm()
