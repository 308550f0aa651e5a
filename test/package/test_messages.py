# SPDX-License-Identifier: Apache-2.0
"""The messages and the action: importable, documented, and with the fields others rely on."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob('msg/*.msg'), *ROOT.glob('action/*.action'), *ROOT.glob('srv/*.srv')])
FIELDS = {
    'ActionChunk': ['header', 'sequence', 'steps', 'verdict', 'reasons'],
    'ActionStep': ['time_from_start', 'targets'],
    'ControllerStatus': [
        *('header', 'state', 'reason', 'reason_code'),
        *('executed', 'clamped', 'refused', 'holds', 'stops'),
    ],
    'EndEffectorCommand': ['header', 'sequence', 'hold', 'targets'],
    'EndEffectorTarget': ['arm', 'frame_id', 'pose', 'gripper', 'joints'],
    'PolicyStatus': [
        *('header', 'state', 'message', 'reason_code', 'reason_source', 'armed', 'sequence'),
        *('image_age_s', 'preprocess_s', 'inference_s', 'observation_age_s', 'queue_remaining_s'),
        'processor_share',
        *('chunks', 'dropped_chunks', 'rejected_chunks', 'clamped_steps'),
        *('ticks', 'starved_ticks', 'missed_ticks', 'worker_restarts'),
        *('lateness_p50_ms', 'lateness_p99_ms', 'lateness_max_ms'),
        *('controller_state', 'controller_reason', 'controller_reason_code'),
    ],
}


def declarations(path):
    """Yield each declaration with the comment beside it or in the lines directly above it."""
    above = ''
    for raw in path.read_text().splitlines():
        line, _, beside = raw.partition('#')
        if line.strip() and line.strip() != '---':
            yield line.strip(), (beside or above).strip()
            above = ''
        else:
            above = beside if raw.strip() not in ('', '---') else ''


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_field_and_constant_has_a_comment(path):
    found = list(declarations(path))
    assert found
    for declaration, comment in found:
        assert len(comment) >= 10, f'{path.name}: `{declaration}` says nothing of itself'


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_file_says_first_what_it_is(path):
    assert path.read_text().startswith('# ')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_file_is_built(path):
    assert f'{path.parent.name}/{path.name}' in (ROOT / 'CMakeLists.txt').read_text()


def test_bags_know_every_message():
    from xvla_ros.bags.message_types import OURS

    assert set(OURS) == {path.stem for path in ROOT.glob('msg/*.msg')}


@pytest.mark.ros
@pytest.mark.parametrize('name', FIELDS)
def test_a_message_has_its_fields(name):
    messages = pytest.importorskip('xvla_ros.msg', reason='the messages need ROS and a build')
    assert list(getattr(messages, name).get_fields_and_field_types()) == FIELDS[name]


@pytest.mark.ros
def test_the_action_has_its_fields():
    actions = pytest.importorskip('xvla_ros.action', reason='the action needs ROS and a build')
    task = actions.RunTask
    assert list(task.Goal.get_fields_and_field_types()) == ['instruction', 'timeout']
    assert list(task.Result.get_fields_and_field_types()) == ['outcome', 'message', 'chunks']
    assert list(task.Feedback.get_fields_and_field_types()) == ['status', 'elapsed']


@pytest.mark.ros
def test_enums_are_distinct():
    messages = pytest.importorskip('xvla_ros.msg', reason='the messages need ROS and a build')
    for message, prefix, count in (
        (messages.PolicyStatus, 'STATE_', 7),
        (messages.ActionChunk, 'VERDICT_', 3),
    ):
        names = [name for name in dir(type(message)) + dir(message) if name.startswith(prefix)]
        values = {getattr(message, name) for name in names}
        assert values == set(range(count)), message


@pytest.mark.ros
def test_a_chunk_survives_the_wire():
    messages = pytest.importorskip('xvla_ros.msg', reason='the messages need ROS and a build')
    from rclpy.serialization import deserialize_message, serialize_message

    target = messages.EndEffectorTarget(arm='left', frame_id='left_base', gripper=0.5)
    target.pose.position.z = 0.25
    chunk = messages.ActionChunk(sequence=7, verdict=messages.ActionChunk.VERDICT_CLAMPED)
    chunk.steps = [messages.ActionStep(targets=[target, target])] * 30
    chunk.reasons = ['step_m: 0.2 > 0.1']
    assert deserialize_message(serialize_message(chunk), messages.ActionChunk) == chunk
