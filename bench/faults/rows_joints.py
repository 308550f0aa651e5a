# SPDX-License-Identifier: Apache-2.0
"""Rows of a robot that is driven by its joints: the SO-101, behind trajectory controllers."""

from collections.abc import Callable
import math
import signal
from typing import Any

import numpy as np

from bench.faults.cell import Cell
from bench.faults.changes import broken, fresh, gone, in_degrees, joint, shifted, twice, without
from bench.faults.deeds import continued, killed, press, released, reset, restarted
from bench.faults.rows_server import PLAN_S, replies, TIMEOUT_S, with_actions, with_nan
from bench.faults.table import Row

AGE_S, CAMERA_AGE_S = 0.2, 0.3  # max_age_s of arms and cameras
# What a stop at the measured joints may lead back: what they lag behind their command [rad].
LAG_RAD = 0.1


def row(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of the SO-101."""
    more = {'within_s': AGE_S, **more}
    return Row(
        name=f'SO-101: {name}', group='so101', inject=inject, codes=codes, space='joints', **more
    )


def joints(name: str, change: Callable[[Any], Any], *codes: str, **more: Any) -> Row:
    """Return a row of its joint states."""
    return row(name, broken('joints', change), *codes, **more)


def actions(name: str, change: Callable[[Any], Any], *codes: str) -> Row:
    """Return a row of what the server answers."""
    return row(name, replies(with_actions(change)), *codes, within_s=PLAN_S)


def in_radians(rows: Any) -> Any:
    """Give the joints in radians where degrees are expected."""
    rows[:, :5] = np.radians(rows[:, :5])
    return rows


def aside(rows: Any) -> Any:
    """Begin 80 degrees aside."""
    rows[:, 0] += 80.0
    return rows


def beyond(rows: Any) -> Any:
    """Lead the elbow out of its limits, from where it is."""
    rows[:, 2] += np.linspace(0.0, 90.0, len(rows))
    return rows


def into_the_table(rows: Any) -> Any:
    """Lead the tool down through the table, slowly enough for all limits of speed."""
    rows[:, 1] += np.linspace(0.0, 12.0, len(rows))
    return rows


ROWS = (
    row('a camera stops', broken('wrist', gone), 'stale', within_s=CAMERA_AGE_S),
    joints('joint states stop', gone, 'stale'),
    joints('joint states 2 s late', shifted(-2.0), 'stale'),
    joints('joint states of the future', shifted(100.0), 'future'),
    joints('joint states without stamp', shifted(math.inf), 'unstamped'),
    joints('a joint is NaN', joint(0, lambda _: math.nan), 'joint_not_finite'),
    joints('a joint is missing', without('elbow_flex'), 'joint_missing'),
    joints('a joint is named twice', twice('elbow_flex'), 'joint_twice'),
    joints('joints in degrees', in_degrees, 'joint_implausible'),
    joints(
        'a joint jumps by 1.5 rad',  # its tool by more than an arm can move
        joint(0, lambda v: v + 1.5),
        *('jump', 'not_following'),
        recover=reset,
        step=1.6,
    ),
    row(
        'joint states freeze, newly stamped',
        fresh(True, 'joints'),
        *('pose_frozen', 'not_following'),
        within_s=5.0,  # as for the Franka's pose
        recover=reset,
        step=0.6,
    ),
    actions('a number is NaN', with_nan, 'answer_not_finite'),
    actions('5 numbers per action', lambda rows: rows[:, :5], 'answer_shape'),
    actions('actions in radians', in_radians, 'first_step'),
    actions('a chunk 80 degrees aside', aside, 'first_step', 'joint_position'),
    actions('a joint is led out of its limits', beyond, 'joint_position', 'workspace'),
    row(
        'the arm is led into the table',
        replies(with_actions(into_the_table)),
        *('collision', 'workspace'),
        within_s=10.0,  # until it is there
    ),
    row(
        'the server hangs up',
        replies(lambda handler, _: handler.hang_up()),
        'server_unreachable',
        within_s=TIMEOUT_S,
    ),
    row('the worker is killed', killed('worker'), 'worker_died', within_s=0.0),
    row('the e-stop is pressed', press, 'estop', recover=reset, step=LAG_RAD, within_s=0.0),
    row(
        'the deadman switch is released',
        released(False),
        'deadman_released',
        within_s=0.0,
    ),
    row(
        'the policy node hangs',
        killed('policy_node', signal.SIGSTOP),
        'no_targets',
        recover=continued('policy_node'),
        within_s=0.1,
    ),
    row(
        'the controller is killed',
        killed('controller_node'),
        *('controller_silent', 'controller_gone'),
        recover=restarted('controller_node'),
        within_s=0.1,
    ),
    row(
        'a second publisher of targets',
        lambda cell: cell.second_publisher(),
        'two_publishers',
        recover=lambda cell: cell.clear(),
        within_s=0.1,
    ),
)
