# SPDX-License-Identifier: Apache-2.0
"""Every reason code that the sources give is in the table, and nothing else is in it."""

import ast
from pathlib import Path

from xvla_ros.core import errors, reason_codes
from xvla_ros.core.errors import InferenceError, ObservationError, Reason, reason_of
from xvla_ros.core.verdict import MEANING as GATE

PACKAGE = Path(__file__).resolve().parents[2] / 'xvla_ros'


def texts(node):
    """Yield every text that an expression may have as its value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value)


def given(tree):
    """Yield every code that a file gives to a reason, an error or a status."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for part in of_call(node):
                yield from texts(part)


def of_call(node):
    """Return the parts of a call that give a code."""
    called = getattr(node.func, 'id', getattr(node.func, 'attr', ''))
    place = {'Reason': 0, 'ObservationError': 2}.get(called, 99)
    named = {'reason_code', 'code'} if called.endswith(('Error', 'Reason')) else {'reason_code'}
    return [*node.args[place : place + 1], *(k.value for k in node.keywords if k.arg in named)]


def test_the_table_holds_what_the_sources_give_and_nothing_else():
    codes = {kind.kind for kind in (errors.XvlaError, *errors.XvlaError.__subclasses__())}
    for path in PACKAGE.rglob('*.py'):
        codes |= set(given(ast.parse(path.read_text())))
    known = set(reason_codes.MEANING) - set(GATE)
    assert codes - set(GATE) == known


def test_no_code_means_two_things():
    tables = (
        reason_codes.INPUTS,
        reason_codes.MODEL,
        reason_codes.SYSTEM,
        reason_codes.CONTROLLER,
        GATE,
    )
    assert len(reason_codes.MEANING) == sum(map(len, tables))


def test_a_reason_has_the_code_and_the_source_of_its_error():
    stale = ObservationError('camera wrist: last message is 1 s old', 'camera wrist', 'stale')
    assert reason_of(stale) == Reason('stale', str(stale), 'camera wrist')
    assert reason_of(InferenceError('no answer', code='server_slow')).code == 'server_slow'
    assert reason_of(InferenceError('no answer')).code == errors.InferenceError.kind


def test_a_reason_is_counted_by_its_source():
    assert Reason('stale', 'old', 'camera wrist').counted == 'camera wrist'
    assert Reason('estop', 'pressed').counted == 'estop'
