# SPDX-License-Identifier: Apache-2.0
"""Rows: the server that the policy asks."""

from collections.abc import Callable
import json
import math
import time
from typing import Any

from bench.faults.cell import Cell
from bench.faults.server import Handler
from bench.faults.table import Row

TIMEOUT_S = 2.0  # policy.request_timeout_s of the cell
PLAN_S = 3.5  # a chunk lasts 3 s of the simulation's clock, which may be slower than ours
Reply = Callable[[Handler, Any], None]


def replies(reply: Reply) -> Callable[[Cell], object]:
    """Return what has the server answer otherwise."""
    return lambda cell: setattr(cell.server, 'reply', reply)


def half(handler: Handler, actions: Any) -> None:
    """Promise more than is sent, and hang up."""
    handler.send(b'{"action": [[0.1, ', length=4000)
    handler.hang_up()


def after(seconds: float) -> Reply:
    """Return what answers late."""

    def reply(handler: Handler, actions: Any) -> None:
        time.sleep(seconds)
        handler.answer(actions)

    return reply


def text(body: str, status: int = 200) -> Reply:
    """Return what sends a text."""
    return lambda handler, actions: handler.send(body.encode(), status)


def with_actions(change: Callable[[Any], Any]) -> Reply:
    """Return what sends other actions."""
    return lambda handler, actions: handler.answer(change(actions))


def with_nan(actions: Any) -> Any:
    """Make one number NaN."""
    actions[3, 1] = math.nan
    return actions


def far_away(actions: Any) -> Any:
    """Begin half a metre away."""
    actions[:, 0] += 0.5
    return actions


def other_layout(actions: Any) -> Any:
    """Give the six numbers of rotations in the other order."""
    rotation = actions[:, 3:9].reshape(-1, 3, 2)
    actions[:, 3:9] = rotation.transpose(0, 2, 1).reshape(-1, 6)
    return actions


def huge(actions: Any) -> Any:
    """Give numbers that no arm can have."""
    return actions * 1e6


def down(cell: Cell) -> None:
    """Have the server refuse connections, and hang up on the open one."""
    cell.server.reply = lambda handler, actions: handler.hang_up()
    cell.server.down.set()


def other_model(cell: Cell) -> None:
    """Have another model answer after a hang-up."""
    cell.server.facts = {'checkpoint': 'another', 'dim_proprio': 14}
    cell.server.reply = lambda handler, actions: handler.hang_up()


def server(name: str, inject: Callable[[Cell], object], *codes: str, **more: Any) -> Row:
    """Return a row of the server."""
    more = {'within_s': TIMEOUT_S, **more}
    return Row(name=name, group='server', inject=inject, codes=codes, **more)


WRONG_SHAPE = with_actions(lambda actions: actions[:10])
ROWS = (
    server('the server is down', down, 'server_unreachable'),
    server(
        'the server answers after 4 s',
        replies(after(4.0)),
        'server_slow',
        within_s=TIMEOUT_S + 0.4,
    ),
    server('the server is 10 times slower', replies(after(0.3))),
    server('half an answer, then the end', replies(half), 'server_unreachable'),
    server(
        'the connection ends at every request',
        replies(lambda h, _: h.hang_up()),
        'server_unreachable',
    ),
    server('10 actions instead of 30', replies(WRONG_SHAPE), 'answer_shape'),
    server('7 numbers per action', replies(with_actions(lambda a: a[:, :7])), 'answer_shape'),
    server('a number is NaN', replies(with_actions(with_nan)), 'answer_not_finite'),
    server('the answer is text', replies(text('hello')), 'server_garbage'),
    server(
        'the answer is JSON of something else',
        replies(text(json.dumps({'a': 1}))),
        'server_garbage',
    ),
    server('status 500', replies(text('{"error": "broken"}', 500)), 'server_refused'),
    server('status 401', replies(text('{"error": "token"}', 401)), 'server_refused'),
    server('status 503', replies(text('{"error": "busy"}', 503)), 'server_refused'),
    server(
        'a chunk half a metre away', replies(with_actions(far_away)), 'first_step', within_s=PLAN_S
    ),
    server(
        'rotations in the other layout',
        replies(with_actions(other_layout)),
        'rotation_layout',
        'rotation_invalid',
        within_s=PLAN_S,
    ),
    server(
        'positions of kilometres',
        replies(with_actions(huge)),
        'first_step',
        'workspace',
        'rotation_layout',
        'rotation_invalid',
        within_s=PLAN_S,
    ),
    server('another model than before', other_model, 'server_changed'),
)
