# SPDX-License-Identifier: Apache-2.0
"""Six rows of `make faults` in a running system; times are judged there, on an idle machine."""

import json

from missing_packages import needs_torch
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='the matrix needs ROS')

from bench.faults.__main__ import chosen, ROWS
from bench.faults.cell import Cell
from bench.faults.robots import ROBOTS
from bench.faults.run import run_row
from bench.faults.server import JOINT_ANCHOR_S, joint_circle, JOINT_SPEED_DEG_S
from bench.faults.table import Outcome, page, save, UNITS
from xvla_ros.core.reason_codes import MEANING

pytestmark = [pytest.mark.ros, pytest.mark.live, needs_torch]
TRIED = (
    'a camera freezes, newly stamped',
    'a joint is NaN',
    'the pose jumps by 0.3 m',
    'the worker hangs',
    'the e-stop is pressed',
    'a second publisher of targets',
)


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    cell = Cell(tmp_path_factory.mktemp('faults'))
    yield cell
    cell.close()


@pytest.mark.parametrize('row', [row for row in ROWS if row.name in TRIED], ids=lambda r: r.name)
def test_a_fault_ends_in_a_hold_with_its_reason_and_motion_comes_back(cell, row):
    outcome = run_row(cell, row, timed=False)
    assert not outcome.wrong, outcome
    assert outcome.recovered


def test_there_are_enough_rows_each_with_known_reasons():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) >= 60
    assert set(TRIED) <= set(names)
    assert {code for row in ROWS for code in row.codes} <= set(MEANING)


def test_rows_of_a_robot_have_its_commands():
    assert {row.space for row in ROWS} == set(ROBOTS) == set(UNITS)
    assert all(row.name.startswith('SO-101') == (row.space == 'joints') for row in ROWS)


def test_the_circle_of_joints_begins_where_the_arm_is_and_keeps_its_speed():
    home = np.array([0.0, -0.35, 0.75, 1.1708, 0.0])
    for start in (np.degrees(home), np.degrees(home) + np.array([20.0, 0, 0, 0, -3.0])):
        chunk = joint_circle(np.array([*start, 50.0]), home)
        assert chunk.shape == (30, 6)
        assert np.allclose(chunk[0, :5], start, atol=1e-6)
        steps_deg = np.linalg.norm(np.diff(chunk[:, :5], axis=0), axis=1)
        assert steps_deg.max() < 1.8 * JOINT_SPEED_DEG_S * JOINT_ANCHOR_S


def test_rows_are_chosen_by_group_or_by_words():
    assert all(row.group == 'camera' for row in ROWS if chosen(row, ['main camera stops']))
    found = {row.name for row in ROWS if chosen(row, ['e-stop'])}
    assert found == {'the e-stop is pressed', 'SO-101: the e-stop is pressed'}
    assert all(chosen(row, None) for row in ROWS)


def test_rows_that_did_not_run_keep_their_figures(tmp_path):
    path = tmp_path / 'faults.json'
    save(path, [Outcome(fault=row.name, group=row.group, passed=True) for row in ROWS[:2]], ROWS)
    save(path, [Outcome(fault=ROWS[0].name, group='camera', wrong=['late'])], ROWS)
    known = {row['fault']: row for row in json.loads(path.read_text())}
    assert [known[row.name]['passed'] for row in ROWS[:2]] == [False, True]
    assert '1 of 2 rows passed' in page(ROWS, known)
